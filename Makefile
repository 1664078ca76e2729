# The commands of a fresh machine; everything behind them is `./setup.sh`, `cargo` and `pan`.

export PATH := $(HOME)/.cargo/bin:$(PATH)
PAN := target/release/pan

.PHONY: setup up down test bench soak

setup:
	./setup.sh run

up: setup
	@echo "up: building"
	cargo build --release --locked --package pan
	$(PAN) up
	@echo "(pan is $(PAN); 'make down' takes the laboratory away)"

down:
	$(PAN) down

test:
	./setup.sh test
	cargo xtask ci

# About two hours: fifty runs of each case, fewer of those that take long (`pan bench failover --help`); every sample is in the file.
bench:
	./setup.sh bench
	cargo build --release --locked --package pan
	$(PAN) bench failover --against keepalived,pacemaker --out target/failover.json
	$(PAN) bench director --against haproxy,nginx --out target/director.json

# SOAK_MINUTES (300) is how long; a suite that has begun is finished.
soak:
	./setup.sh test
	cargo xtask soak
