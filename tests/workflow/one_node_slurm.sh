#!/usr/bin/env bash
# A private Slurm cluster: this machine as its one node, with two GPUs that are none.
#   one_node_slurm.sh up FOLDER      starts the daemons; everything they write goes to FOLDER
#   one_node_slurm.sh down FOLDER    stops them and leaves the machine as it was
# Run as root, with Debian's packages slurm-wlm and munge.
set -euo pipefail
verb=$1 folder=$2 host=$(hostname -s) link=/etc/slurm/slurm.conf

stop() {
    scancel --user="$(id -un)" 2> /dev/null || true
    for _ in $(seq 120); do # until slurmd has killed what they left (KillWait)
        [ -n "$(squeue --noheader 2> /dev/null)" ] || break
        sleep 0.25
    done
    for daemon in slurmd slurmctld munged; do
        [ -s "$folder/$daemon.pid" ] || continue
        pid=$(cat "$folder/$daemon.pid")
        kill "$pid" || true
        for _ in $(seq 40); do # until it is gone, or a zombie that nobody collects
            grep --quiet --no-messages '^State:[[:space:]]*[^Z]' "/proc/$pid/status" || break
            sleep 0.25
        done
    done
    if [ "$(readlink $link)" = "$folder/slurm.conf" ]; then rm $link; fi
}

if [ "$verb" = down ]; then
    SLURM_CONF="$folder/slurm.conf" stop
    exit
fi
if [ -L $link ] && ! pgrep -x slurmctld > /dev/null; then # left by a test that was killed
    if [ ! -e $link ] || grep --quiet '^ClusterName=one_node$' $link; then rm $link; fi
fi
if [ -e $link ] || [ -L $link ]; then
    echo "$link exists: this machine belongs to a cluster" >&2
    exit 3
fi

mkdir -p "$folder/state" "$folder/spool" /etc/slurm
head -c 128 /dev/urandom > "$folder/munge.key"
chmod 400 "$folder/munge.key"
munged --force --key-file="$folder/munge.key" --socket="$folder/munge.sock" \
    --pid-file="$folder/munged.pid" --log-file="$folder/munged.log" \
    --seed-file="$folder/munged.seed"
# linuxproc and task/none need no control groups; cores and memory are promised, never reserved.
cat > "$folder/slurm.conf" << CONF
ClusterName=one_node
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthInfo=socket=$folder/munge.sock
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=1,sched_interval=2
MinJobAge=300
KillWait=20
ReturnToService=0
GresTypes=gpu,shard
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 Gres=gpu:fake:2,shard:4
PartitionName=gpu Nodes=$host Default=YES State=UP OverTimeLimit=0
CONF
# Slurm wants a character device for each GPU; any will do. Two runs may share each GPU (shards).
printf "%s\n" "Name=gpu Type=fake File=/dev/null,/dev/zero" "Name=shard Count=4" > "$folder/gres.conf"
# Inside jobs the environment is cleared of SLURM_CONF, so that the file must be where Slurm looks.
ln -s "$folder/slurm.conf" $link
export SLURM_CONF="$folder/slurm.conf" # in its folder the daemons find gres.conf
slurmctld -c
slurmd
for _ in $(seq 80); do
    if sinfo --noheader --format=%T 2> /dev/null | grep --quiet idle; then exit; fi
    sleep 0.25
done
tail -n 5 "$folder"/*.log >&2
stop
exit 1
