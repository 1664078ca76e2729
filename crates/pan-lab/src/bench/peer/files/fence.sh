#!/bin/sh
# A fence agent that asks the benchmark, which stands for the power switch, and succeeds when that confirms the death.
action=reboot port= switch=@SWITCH@
while IFS='=' read -r name value; do
    case $name in action) action=$value ;; port) port=$value ;; esac
done
case $action in
metadata) cat "${0%/*}/fence_bench.xml" ;;
off | reboot)
    answer=$(mktemp -u "$switch/answer.XXXXXXXX") && mkfifo "$answer" || exit 1
    trap 'rm -f "$answer"' EXIT
    exec 3<>"$answer" # open before it is asked for, so that the answer finds a reader
    echo "$port $(uname -n) ${answer##*/}" >"$switch/requests"
    read -r word <&3 && [ "$word" = dead ] || exit 1
    ;;
esac
exit 0
