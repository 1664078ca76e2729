#!/bin/sh
# An OCF resource agent for the benchmark's web server: nginx with a fixed answer.
. "${OCF_FUNCTIONS_DIR:-/usr/lib/ocf/lib/heartbeat}/ocf-shellfuncs"
running() {
    read -r pid 2>/dev/null </run/nginx.pid && kill -0 "$pid" 2>/dev/null
}
case $1 in
meta-data) cat "${0%/*}/responder.xml" ;;
# nginx returns once it listens.
start) running || nginx -c "$OCF_RESKEY_config" >/dev/null 2>&1 || exit "$OCF_ERR_GENERIC" ;;
stop) while running; do kill -TERM "$pid" && sleep 0.05; done ;;
monitor) running || exit "$OCF_NOT_RUNNING" ;;
*) exit "$OCF_ERR_UNIMPLEMENTED" ;;
esac
exit "$OCF_SUCCESS"
