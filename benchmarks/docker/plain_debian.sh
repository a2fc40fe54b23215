#!/usr/bin/env bash
# The steps of the Dockerfile without Docker: in a Debian root made by debootstrap, or in a folder with a virtual environment.
#
#   benchmarks/docker/plain_debian.sh ROOT [ARGUMENTS OF python -m benchmarks.gpu ...]
#
# As root, with debootstrap installed, ROOT becomes a Debian of its own and the command runs in it by chroot, as the Dockerfile's
# user; otherwise ROOT is a folder, and paths of the Dockerfile are taken below it. ROOT is kept, and made only once. The
# variables PEERS (as the Dockerfile's argument), SUITE and MIRROR (debootstrap's) are heeded; CHROOT=no asks for the folder.
# The instructions are read from the Dockerfile itself, so that this does not drift from it.
set -euo pipefail

here=$(cd "$(dirname "$0")/../.." && pwd)
[ $# -ge 1 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
mkdir -p "$1" && root=$(cd "$1" && pwd) && shift

if [ "${CHROOT:-yes}" = yes ] && [ "$(id -u)" = 0 ] && command -v debootstrap >/dev/null; then
    mode=chroot base=""
else
    mode=folder base=$root
fi
echo "+ $mode in $root" >&2

user=root workdir=/ entry=()
environment=(HOME=/tmp LC_ALL=C.UTF-8)

# run a command as `user` with the Dockerfile's environment; $1 is shell text
inside() {
    if [ $mode = chroot ]; then
        chroot --userspec="$user" "$root" /usr/bin/env -i PATH=/opt/venv/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            "${environment[@]}" sh -ec "cd $workdir && $1"
    else
        (cd "$root$workdir" && env PATH="$root/opt/venv/bin:$PATH" "${environment[@]}" sh -ec "$1")
    fi
}

first() { # what FROM stands for: a Debian with Python, and a virtual environment in place of the image's own Python
    if [ $mode = chroot ]; then
        [ -x "$root/usr/bin/python3" ] || debootstrap --variant=minbase \
            --include=python3,python3-venv,ca-certificates "${SUITE:-bookworm}" "$root" "${MIRROR:-http://deb.debian.org/debian}" >&2
        cp /etc/resolv.conf "$root/etc/resolv.conf"
        for file in /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do # the host's way to the network
            if [ -f $file ]; then cp $file "$root$file"; fi
        done
        mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
        mountpoint -q "$root/dev" || mount --rbind /dev "$root/dev"
        trap 'umount -l "$root/dev" "$root/proc"' EXIT
        driver_libraries
        [ -x "$root/opt/venv/bin/python" ] || inside "python3 -m venv /opt/venv"
    else
        [ -x "$root/opt/venv/bin/python" ] || python3 -m venv "$root/opt/venv"
    fi
}

driver_libraries() { # what `--gpus all` mounts into a container
    for file in $(ldconfig -p | awk '/lib(cuda|nvidia-ml|nvidia-ptxjitcompiler|nvidia-nvvm)\.so/ { print $NF }'); do
        cp -L "$file" "$root/usr/lib/" && echo "+ driver: $file" >&2
    done
    chroot "$root" ldconfig
}

add_user() { # the image's useradd and install, which a folder has no use for
    if [ $mode = chroot ]; then
        inside "id bench >/dev/null 2>&1 || { $1; }"
    else
        mkdir -p "$root/cache" "$root/results"
    fi
}

perform() {
    local instruction=$1 rest=$2 name value
    [ "$instruction" = ENTRYPOINT ] || echo "+ $instruction $rest" >&2
    case $instruction in
        FROM) first ;;
        ARG) name=${rest%%=*} value=${rest#*=}; environment+=("$name=${!name-${value//\"/}}") ;;
        ENV) name=${rest%%=*} value=${rest#*=}
             case $value in /*) value=$base$value ;; esac
             environment+=("$name=$value") ;;
        WORKDIR) workdir=$rest; mkdir -p "$root$workdir" ;;
        COPY) local words=($rest) target; target=$root$workdir/${words[-1]}
              for value in "${words[@]:0:${#words[@]}-1}"; do
                  if [ -d "$here/$value" ]; then mkdir -p "$target"; cp -R "$here/$value/." "$target"; else cp "$here/$value" "$target"; fi
              done ;;
        RUN) case $rest in useradd*) add_user "$rest" ;; *) inside "$rest" ;; esac ;;
        USER) user=$rest ;;
        VOLUME) mkdir -p "$root$rest" ;;
        ENTRYPOINT) entry=($(printf '%s' "$rest" | tr -d '[]",')) ;;
        *) echo "plain_debian.sh: what is $instruction?" >&2; exit 2 ;;
    esac
}

while read -r instruction rest <&3; do
    perform "$instruction" "$rest"
done 3< <(sed -e '/^[[:space:]]*#/d' -e '/^[[:space:]]*$/d' -e ':join' -e '/\\$/{N;s/\\\n[[:space:]]*//;bjoin' -e '}' "$here/Dockerfile")

[ $mode = chroot ] || user=$(id -un)
echo "+ as ${user}: ${entry[*]} $*" >&2
du -sh "$root/opt/venv" >&2
inside "exec ${entry[*]} $*"
