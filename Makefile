# The commands of a fresh machine; everything behind them is `./setup.sh`, `cargo` and `pan`.

export PATH := $(PATH):$(HOME)/.cargo/bin
PAN := target/release/pan

.PHONY: setup up down test bench soak

setup:
	./setup.sh run

up: setup
	@echo "up: building"
	cargo build --release --locked --package pan
	$(PAN) up
	$(PAN) apply -f examples/demo.yaml --wait
	@echo
	@echo "The demo answers:    curl http://198.18.0.10/"
	@echo "Look around:         $(PAN) get server -A    $(PAN) get node    $(PAN) events -A"
	@echo "Cut a node's power:  $(PAN) lab kill n1, then $(PAN) timeline n1"
	@echo "Take it down:        make down"

down:
	$(PAN) down

test:
	./setup.sh test
	cargo xtask ci

bench:
	./setup.sh test
	cargo build --release --locked --package pan
	$(PAN) bench failover

soak:
	./setup.sh test
	cargo xtask soak
