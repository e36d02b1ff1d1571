#!/bin/sh
# Switches a live registry behind nginx from registry:2 to roadstead, or back, without one failed pull:
#   switch.sh roadstead | switch.sh registry2
# After any stop it may be run again.
set -eu

: "${FOLDER:=/var/lib/docker-registry}"         # what registry:2's configuration calls rootdirectory
: "${SWITCH:=/etc/nginx/registry-switch.conf}"  # included by nginx where proxy_pass was; written by this script
: "${OLD:=http://localhost:5001}"               # registry:2
: "${START_OLD:=systemctl enable --now docker-registry}"
: "${STOP_OLD:=systemctl disable --now docker-registry}"
: "${NEW:=http://127.0.0.1:5002}"               # roadstead
: "${START_NEW:=systemctl enable --now roadstead}"
: "${STOP_NEW:=systemctl disable --now roadstead}"
: "${NGINX_PROGRAM:=nginx}"
: "${NGINX_PID:=/run/nginx.pid}"
: "${PATIENCE:=900}"                            # seconds until requests have ended, or a server answers
: "${ACCEPT_DAMAGE:=no}"                        # yes: damaged images, which were named, may be left behind

say() { printf '%s  %s\n' "$(date +%T)" "$*"; }
give_up() { say "$*" >&2; exit 1; }
answers() { case $(curl -s --noproxy '*' -m 5 -o /dev/null -w '%{http_code}' "$1/v2/") in 200 | 401) ;; *) return 1 ;; esac; }

command_of() { sh -c "$1" 9>&-; }  # servers that it starts must not keep the lock

ours() { # roadstead as whoever owns the folder: registry:2 must be able to change what it makes
    if [ "$(id -u)" = 0 ]; then
        set -- setpriv --reuid "$(stat -c %u "$FOLDER/docker")" --regid "$(stat -c %g "$FOLDER/docker")" --clear-groups roadstead "$@"
    else
        set -- roadstead "$@"
    fi
    "$@"
}

go_on_with() { # URL, its command: makes sure that whoever serves again is there
    answers "$1" || { say "nobody answers at $1: starting it" >&2; command_of "$2" && wait_for "$1"; } || :
}

wait_for() { # URL
    tries=0
    until answers "$1"; do tries=$((tries + 1)); [ "$tries" -le "$PATIENCE" ] || return 1; sleep 1; done
}

point_nginx() { # URL open|closed: where requests go, and whether pushes are told to come again
    printf 'proxy_pass %s;\n' "$1" > "$SWITCH.new"
    [ "$2" = open ] || cat >> "$SWITCH.new" << 'END'
if ($request_method !~ ^(GET|HEAD)$) {
    add_header Retry-After 10 always;
    return 503 '{"errors":[{"code":"UNAVAILABLE","message":"the registry is being moved: try again in a minute"}]}';
}
END
    mv "$SWITCH.new" "$SWITCH"
    $NGINX_PROGRAM -t -q
}

reload_nginx() { # returns once every request that began before has ended
    master=$(cat "$NGINX_PID") && workers=$(cat "/proc/$master/task/$master/children") && $NGINX_PROGRAM -s reload || return 1
    tries=0
    for worker in $workers; do
        while [ -e "/proc/$worker" ]; do tries=$((tries + 1)); [ "$tries" -le "$PATIENCE" ] || return 1; sleep 1; done
    done
}

hold_back_pushes() { # URL of who serves now
    trap undo EXIT
    trap 'exit 130' INT TERM HUP
    point_nginx "$1" closed
    reload_nginx || give_up "requests are still running after $PATIENCE seconds: try again at a quieter time"
}

send_everything() { # URL of who serves from now on
    point_nginx "$1" open
    trap - EXIT INT TERM HUP
}

adopt() {
    for _ in 1 2 3; do  # a link that registry:2 writes at this moment is empty, and looks damaged
        code=0
        report=$(ours adopt "$FOLDER") || code=$?
        [ "$code$ACCEPT_DAMAGE" = 4no ] || break
        sleep 1
    done
    case $code in
        0) ;;
        4)
            printf '%s\n' "$report" | grep '^damage'
            [ "$ACCEPT_DAMAGE" = yes ] || give_up "registry:2 has damaged images, see above: ACCEPT_DAMAGE=yes leaves them"
            ;;
        *) give_up "$FOLDER could not be taken over, see above" ;;
    esac
}

to_roadstead() {
    say "1/5 taking over what registry:2 has, while it serves"
    adopt
    undo() {
        if [ "$started" = yes ] && ! answers "$OLD" && answers "$NEW"; then
            say "registry:2 has stopped, roadstead answers and has all: it serves from now on; run this again to tidy up" >&2
            point_nginx "$NEW" open && $NGINX_PROGRAM -s reload
            return
        fi
        say "nothing was switched: registry:2 goes on as before" >&2
        if [ "$started" = yes ]; then
            command_of "$STOP_NEW" || :
            ours adopt --force "$FOLDER" > /dev/null || :  # nobody told roadstead anything: the links are the truth
        fi
        go_on_with "$OLD" "$START_OLD"
        point_nginx "$OLD" open && $NGINX_PROGRAM -s reload
    }
    started=no
    say "2/5 nginx holds back pushes; waiting for requests that have begun"
    hold_back_pushes "$OLD"
    say "3/5 taking over what was pushed meanwhile"
    adopt
    say "4/5 starting roadstead"
    started=yes
    command_of "$START_NEW"
    wait_for "$NEW" || give_up "roadstead does not answer at $NEW: see its log"
    say "5/5 nginx sends everything to roadstead; waiting for what registry:2 still answers"
    send_everything "$NEW"
}

to_registry2() {
    undo() {
        if [ "$released" = yes ]; then
            say "pulls go on, pushes are held back: correct what went wrong, and run this again" >&2
            return
        fi
        say "nothing was switched: roadstead goes on as before" >&2
        [ "$started" = no ] || command_of "$STOP_OLD" || :
        go_on_with "$NEW" "$START_NEW"
        ours maintenance off --wait --timeout 10 --data "$FOLDER" > /dev/null || :
        point_nginx "$NEW" open && $NGINX_PROGRAM -s reload
    }
    started=no released=no
    say "1/5 nginx holds back pushes; waiting for requests that have begun"
    hold_back_pushes "$NEW"
    say "2/5 roadstead serves pulls only"
    ours maintenance read-only --wait --timeout "$PATIENCE" --data "$FOLDER" > /dev/null
    say "3/5 starting registry:2, which nobody asks yet"
    started=yes
    command_of "$START_OLD"
    wait_for "$OLD" || give_up "registry:2 does not answer at $OLD: see its log"
    say "4/5 writing the links that registry:2 reads"
    ours release "$FOLDER" > /dev/null
    released=yes
    say "5/5 nginx sends everything to registry:2; waiting for what roadstead still answers"
    send_everything "$OLD"
}

for program in roadstead curl setpriv flock; do command -v "$program" > /dev/null || give_up "$program is missing"; done
[ -d "$FOLDER/docker/registry/v2" ] || give_up "$FOLDER is not the folder of a registry:2: set FOLDER"
$NGINX_PROGRAM -t -q || give_up "nginx's own files are not in order, see above"
$NGINX_PROGRAM -T 2> /dev/null | grep -q "^[^#]*include *$SWITCH;" || give_up "nginx does not include $SWITCH"
$NGINX_PROGRAM -T 2> /dev/null | grep -q "^[^#]*proxy_buffering *off;" || say "nginx may cut an answer when it reloads: put proxy_buffering off; beside the include" >&2
case ${1-} in
    roadstead) name=roadstead from=$OLD to=$NEW stop=$STOP_OLD ;;
    registry2) name=registry:2 from=$NEW to=$OLD stop=$STOP_NEW ;;
    *) give_up "say who is to serve: $0 roadstead, or $0 registry2" ;;
esac

exec 9> "$SWITCH.lock"
flock -n 9 || give_up "$0 is running already, see $SWITCH.lock: wait until it has ended"
if ! grep -q "proxy_pass $to;" "$SWITCH"; then
    answers "$from" || give_up "nobody answers at $from: set OLD and NEW"
    ! answers "$to" || give_up "something answers at $to already: stop it, or set OLD and NEW"
    if [ "$name" = roadstead ]; then to_roadstead; else to_registry2; fi
else
    answers "$to" || give_up "nginx sends requests to $to, and nobody answers there: start it"
    say "nginx sends requests to $name already"
    point_nginx "$to" open
fi
reload_nginx || give_up "switched, but requests from before are still running: run this again, which waits on and tidies up"
answers "$to" || give_up "switched, but nobody answers at $to any more: nothing was stopped; start it, and run this again"
command_of "$stop" || give_up "switched, but this failed: $stop; correct it, and run this again"
[ "$name" = roadstead ] || ours maintenance off --data "$FOLDER" > /dev/null  # for the next time
say "done: $name serves $FOLDER"
