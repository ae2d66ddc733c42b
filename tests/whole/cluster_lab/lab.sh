#!/usr/bin/env bash
# A cloud on one machine: a laptop and hosts in network, PID and mount namespaces of their
# own, each with its own home, /tmp/ray and sshd, so that `ray up` starts a real cluster
# over SSH. Nothing touches the machine's own network.
#
#   LAB=/some/empty/folder VENV=/a/virtual/environment  ./lab.sh up | down
#   ... ./lab.sh on HOST "COMMAND"    runs a command on a host, in its home
#   ... ./lab.sh boot HOST            starts a host from the image: a fresh home, an sshd
#   ... ./lab.sh kill HOST            ends all that runs on it, as a cloud does
#
# The hosts have the addresses of moto's default subnet, 172.31.0.0/20; moto gives them to
# "instances" one after the other, from .4. The laptop, .250, also answers to the address
# of AWS's instance metadata, where the nodes find their role's credentials.
#
# Needs root and Debian's iproute2, openssh-server, rsync and util-linux.
set -eu
LAB=${LAB:?a folder for the lab} VENV=${VENV:?a virtual environment}
TAG=${LAB_TAG:-plab}
REPOSITORY=$(cd "$(dirname "$0")/../../.." && pwd)
HOSTS="laptop n4 n5 n6 n7"
CLOUD=172.31.0.250

# Become a process on a host, with its own mounts and its own root's home, $LAB/home. All
# that it starts ends with it.
inside() {
  local host=$1; shift
  exec ip netns exec "$TAG-$host" unshare -m -p -f --kill-child --mount-proc bash -c "
    mount --make-rprivate /
    mkdir -p /tmp/ray
    mount --bind $LAB/hosts/$host/home $LAB/home
    mount --bind $LAB/hosts/$host/tmpray /tmp/ray
    mount --bind $LAB/passwd /etc/passwd
    cd $LAB/home
    export HOME=$LAB/home PATH=$VENV/bin:\$PATH
    $*"
}

# what the image holds: the packages, where setup_commands would put them
image() {
  local host=$1 home=$LAB/hosts/$1/home
  rm -rf "$LAB/hosts/$host"
  mkdir -p "$home/.ssh" "$LAB/hosts/$host/tmpray"
  chmod 700 "$home/.ssh"
  cp "$LAB/keys/id.pub" "$home/.ssh/authorized_keys"
  chmod 600 "$home/.ssh/authorized_keys"
  ln -s "$VENV" "$home/venv"
  cp "$LAB/constraints.txt" "$home/.plasticity-study-installed"
  # what `pip install -e` of setup_commands builds and enters
  local steps=plasticity-study/trainables/steps
  mkdir -p "$home/$steps"
  cp "$REPOSITORY"/trainables/steps/*.so "$home/$steps" 2> /dev/null || true
  cat > "$home/.bashrc" <<B
export PATH=$LAB/home/bin:$LAB/home/venv/bin:\$PATH
export PYTHONPATH=$LAB/home/plasticity-study
export AWS_ENDPOINT_URL=http://$CLOUD
export RAY_worker_niceness=0  # Ray's workers give way to nobody here
B
  cp "$home/.bashrc" "$home/.bash_profile"
  # `shutdown` ends the instance, and all that runs on it with the host's first process
  mkdir "$home/bin"
  cat > "$home/bin/sudo" <<S
#!/bin/sh
[ "\$*" = "shutdown -h now" ] || exec "\$@"
python - <<P
import boto3
named = [{"Name": "private-ip-address", "Values": ["172.31.0.${host#n}"]}]
for each in boto3.resource("ec2", "us-west-2").instances.filter(Filters=named):
    each.terminate()
P
kill 1
S
  chmod 755 "$home/bin/sudo"
}

boot() {
  image "$1"
  cat > "$LAB/hosts/$1/sshd_config" <<C
Port 22
HostKey $LAB/keys/host
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
StrictModes no
PidFile none
Subsystem sftp internal-sftp
MaxStartups 100
C
  inside "$1" "exec /usr/sbin/sshd -D -f $LAB/hosts/$1/sshd_config -E $LAB/sshd-$1.log" \
    > "$LAB/host-$1.log" 2>&1 < /dev/null &
}

kill_host() {
  for pid in $(ip netns pids "$TAG-$1" 2>/dev/null); do
    kill -9 "$pid" 2>/dev/null || true
  done
}

up() {
  mkdir -p "$LAB/keys" "$LAB/home" /run/sshd
  sed "s#^root:\(.*\):[^:]*:\([^:]*\)\$#root:\1:$LAB/home:/bin/bash#" /etc/passwd > "$LAB/passwd"
  [ -f "$LAB/keys/id" ] || ssh-keygen -q -t rsa -b 2048 -m PEM -N '' -f "$LAB/keys/id"
  [ -f "$LAB/keys/host" ] || ssh-keygen -q -t ed25519 -N '' -f "$LAB/keys/host"
  ip netns add "$TAG-bridge"
  ip -n "$TAG-bridge" link add br0 type bridge
  ip -n "$TAG-bridge" link set br0 up
  for host in $HOSTS; do
    ip netns add "$TAG-$host"
    ip -n "$TAG-$host" link set lo up
    ip -n "$TAG-$host" link add eth0 type veth peer name "v$host" netns "$TAG-bridge"
    ip -n "$TAG-bridge" link set "v$host" master br0
    ip -n "$TAG-bridge" link set "v$host" up
    local address=172.31.0.${host#n}
    [ "$host" = laptop ] && address=$CLOUD
    ip -n "$TAG-$host" addr add "$address/20" dev eth0
    ip -n "$TAG-$host" link set eth0 up
    # without a default route Ray takes 127.0.0.1 for the host's address
    ip -n "$TAG-$host" route add default via 172.31.0.1
    if [ "$host" = laptop ]; then
      ip -n "$TAG-laptop" addr add 169.254.169.254/32 dev eth0
      image laptop
    else
      ip -n "$TAG-$host" route add 169.254.169.254/32 dev eth0
      boot "$host"
    fi
  done
}

down() {
  for host in $HOSTS bridge; do
    kill_host "$host"
    ip netns del "$TAG-$host" 2>/dev/null || true
  done
}

case $1 in
  on) shift; inside "$@" ;;
  kill) kill_host "$2" ;;
  *) "$@" ;;
esac
