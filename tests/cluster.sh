#!/usr/bin/env bash
# A small Slurm cluster on this one machine, for the tests of slurm/: two nodes n1 and n2 with pretended GPUs,
# accounting included. Needs root and Debian's packages:
#     slurmctld slurmd slurm-client slurmdbd munge mariadb-server
#
#   tests/cluster.sh up                   start what of it is not up, wait until it answers; prints the SLURM_CONF to use
#   tests/cluster.sh down                 end every process of it and remove its files
#   tests/cluster.sh kill SERVICE         SIGKILL a service; a node dies with all its jobs
#   tests/cluster.sh start SERVICE        start it again and wait until it answers: munged mariadbd slurmdbd slurmctld n1 n2
#
# CLUSTER_DIR (default /tmp/twinbench-cluster) holds everything; six ports from CLUSTER_PORT (16817) on are its own, so
# that clusters of different folders and ports stand beside each other. CLUSTER_PREEMPTION=term makes a site where a
# preempted job gets SIGTERM only; by default it is warned by the job's own signal. Jobs of partition `doomed` are
# cancelled when preempted, after ten seconds, those of `axed` at once; of QOS `few`, ten can be submitted. No job starts
# on a node that stands, a line each, in the file CLUSTER_DIR/prolog.fails: its Prolog fails.
set -euo pipefail
HOME_DIR=${CLUSTER_DIR:-/tmp/twinbench-cluster}
CONF=$HOME_DIR/slurm.conf
PORT=${CLUSTER_PORT:-16817}
NODES=(n1 n2)
PATIENCE=60 # seconds for a service to answer; a few are enough unless the machine is busy
PACKAGES="slurmctld slurmd slurm-client slurmdbd munge mariadb-server"
export SLURM_CONF=$CONF
umask 022

say() { echo "tests/cluster.sh: $*" >&2; }

need_programs() {
  [[ $(id -u) == 0 ]] || { say "needs root"; exit 3; }
  local program
  for program in munged mariadbd mariadb-install-db slurmdbd slurmctld slurmd sbatch; do
    command -v "$program" >/dev/null || { say "no $program here; install: $PACKAGES"; exit 3; }
  done
}

write_files() {
  mkdir -p "$HOME_DIR"/{log,pid,state,gpus,spool}
  local gpu
  for gpu in 0 1 2 3; do ln -sfn /dev/null "$HOME_DIR/gpus/gpu$gpu"; done # Slurm wants character devices
  echo "Name=gpu File=$HOME_DIR/gpus/gpu[0-3]" >"$HOME_DIR/gres.conf"
  echo "CgroupPlugin=cgroup/v1" >"$HOME_DIR/cgroup.conf" # never used; without it slurmd looks for systemd
  local preemption="SlurmctldParameters=preempt_send_user_signal"
  [[ ${CLUSTER_PREEMPTION:-} == term ]] && preemption=
  cat >"$CONF" <<END
ClusterName=twinbench
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$((PORT + 0))
SlurmdPort=$((PORT + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# cred_expire: a job put back in the queue starts again after this many seconds, 120 by default
AuthInfo=socket=$HOME_DIR/munge.socket,cred_expire=5
StateSaveLocation=$HOME_DIR/state
SlurmdSpoolDir=$HOME_DIR/spool/%n
SlurmctldPidFile=$HOME_DIR/pid/slurmctld.own
SlurmdPidFile=$HOME_DIR/pid/%n.own
SlurmctldLogFile=$HOME_DIR/log/slurmctld.log
SlurmdLogFile=$HOME_DIR/log/%n.log
# one machine plays both nodes, without cgroups
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
Prolog=$HOME_DIR/prolog
# accounting; a job that takes more memory than it asked for is ended
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 2))
AccountingStoragePass=$HOME_DIR/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=limits,qos
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
# seconds where a real site has minutes
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=100000
SlurmdTimeout=5
KillWait=5
MinJobAge=300
ReturnToService=2
MaxArraySize=1001
MaxJobCount=10000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
$preemption
DefMemPerCPU=500
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((PORT + 4)) CPUs=8 RealMemory=16000 Gres=gpu:4
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((PORT + 5)) CPUs=8 RealMemory=16000 Gres=gpu:4
PartitionName=main Nodes=n1,n2 Default=YES PriorityTier=10 PreemptMode=OFF DefaultTime=10 MaxTime=24:00:00
PartitionName=low Nodes=n1,n2 PriorityTier=1 PreemptMode=REQUEUE GraceTime=10 DefaultTime=10 MaxTime=24:00:00
PartitionName=doomed Nodes=n1,n2 PriorityTier=1 PreemptMode=CANCEL GraceTime=10 DefaultTime=10 MaxTime=24:00:00
PartitionName=axed Nodes=n1,n2 PriorityTier=1 PreemptMode=CANCEL GraceTime=0 DefaultTime=10 MaxTime=24:00:00
PartitionName=high Nodes=n1,n2 PriorityTier=20 PreemptMode=OFF DefaultTime=10 MaxTime=24:00:00
PartitionName=short Nodes=n1,n2 PriorityTier=10 PreemptMode=OFF DefaultTime=10 MaxTime=00:30:00
END
  if [[ ! -e $HOME_DIR/prolog ]]; then
    printf '#!/bin/bash\n! grep -qsx "$SLURMD_NODENAME" %q\n' "$HOME_DIR/prolog.fails" >"$HOME_DIR/prolog"
    chmod 755 "$HOME_DIR/prolog"
  fi
  cat >"$HOME_DIR/slurmdbd.conf" <<END
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((PORT + 2))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$HOME_DIR/munge.socket
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=accounting
PidFile=$HOME_DIR/pid/slurmdbd.own
LogFile=$HOME_DIR/log/slurmdbd.log
END
  chmod 600 "$HOME_DIR/slurmdbd.conf"
  [[ -s $HOME_DIR/munge.key ]] || (umask 077 && head -c 1024 /dev/urandom >"$HOME_DIR/munge.key")
  # a run over several nodes looks its first node up by name
  grep -q "# twinbench-cluster" /etc/hosts || echo "127.0.0.1 ${NODES[*]} # twinbench-cluster" >>/etc/hosts
}

# Every service runs in the foreground in a session of its own; its pid is what we started.
running() { [[ -e $HOME_DIR/pid/$1 ]] && kill -0 "$(<"$HOME_DIR/pid/$1")" 2>/dev/null && ! zombie "$(<"$HOME_DIR/pid/$1")"; }
zombie() { grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

# Start a service and wait until it answers; one that ends by itself meanwhile is started again.
start() {
  local end=$((SECONDS + PATIENCE))
  # Slurm's controller ends at once if it has no state of its own yet and the accounting does not answer
  [[ $1 == slurmctld ]] && start slurmdbd
  until running "$1" && timeout 20 bash -c "$(answer_of "$1")" >/dev/null 2>&1; do
    if ((SECONDS >= end)); then
      say "$1 gave no answer in $PATIENCE s; it said:"
      cat "$HOME_DIR/log/$1".{out,log} 2>/dev/null | tail -5 >&2
      exit 1
    fi
    running "$1" || launch "$1"
    sleep 0.2
  done
}

answer_of() { # a command that succeeds when the service does its work
  case $1 in
    munged) echo "munge --no-input --socket=$HOME_DIR/munge.socket" ;;
    mariadbd) echo "mariadb-admin --no-defaults --socket=$HOME_DIR/mariadb.socket ping" ;;
    slurmdbd) echo "sacctmgr --noheader list cluster" ;;
    # it has told the accounting where it listens, and sinfo gets an answer
    slurmctld) echo "sinfo && sacctmgr --noheader --parsable2 list cluster format=cluster,controlhost | grep 'twinbench|127'" ;;
    n?) echo "sinfo --noheader --Node --nodes=$1 --partition=main --states=idle,mix,alloc --responding | grep $1" ;;
    *) say "no service $1"; exit 2 ;;
  esac
}

launch() {
  export MYSQL_UNIX_PORT=$HOME_DIR/mariadb.socket
  case $1 in
    munged) set -- "$1" munged --foreground --force --key-file="$HOME_DIR/munge.key" --socket="$HOME_DIR/munge.socket" \
      --pid-file="$HOME_DIR/pid/munged.own" --log-file="$HOME_DIR/log/munged.log" --seed-file="$HOME_DIR/munge.seed" ;;
    mariadbd)
      [[ -d $HOME_DIR/db/mysql ]] || mariadb-install-db --no-defaults --user=root --datadir="$HOME_DIR/db" \
        --auth-root-authentication-method=socket --skip-test-db >"$HOME_DIR/log/mariadb-install.log" 2>&1
      set -- "$1" mariadbd --no-defaults --user=root --datadir="$HOME_DIR/db" --socket="$MYSQL_UNIX_PORT" \
        --skip-networking --skip-log-bin --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=900 ;;
    slurmdbd) set -- "$1" slurmdbd -D ;;
    slurmctld) set -- "$1" slurmctld -D -f "$CONF" ;;
    n?)
      mkdir -p "$HOME_DIR/spool/$1"
      set -- "$1" slurmd -D -f "$CONF" -N "$1" ;;
  esac
  local name=$1
  shift
  setsid nohup "$@" </dev/null >>"$HOME_DIR/log/$name.out" 2>&1 &
  echo $! >"$HOME_DIR/pid/$name"
}

up() {
  need_programs
  local before service node
  before=$(cat "$CONF" 2>/dev/null || true)
  write_files
  for service in munged mariadbd slurmdbd slurmctld; do start "$service"; done
  if [[ ! -e $HOME_DIR/limits ]]; then
    sacctmgr --immediate --quiet add qos few MaxSubmitJobsPerUser=10 >/dev/null
    sacctmgr --immediate --quiet modify user root set qos+=few >/dev/null
    touch "$HOME_DIR/limits"
  fi
  [[ -z $before || $before == "$(<"$CONF")" ]] || scontrol reconfigure
  for node in "${NODES[@]}"; do
    # a node that could not end a job in time is taken out of service, until somebody says that it is well
    [[ -z $(sinfo --noheader --Node --nodes="$node" --states=drain) ]] || scontrol update NodeName="$node" State=RESUME
    start "$node"
  done
  echo "$CONF"
}

steps_of() { # the processes that watch over a node's job steps; they are known by the node's log, which they keep open
  local pid
  for pid in $(pgrep slurmstepd); do
    find "/proc/$pid/fd" -lname "$HOME_DIR/log/$1.log" 2>/dev/null | grep -q . && echo "$pid" || true
  done
}
jobs_of() {
  grep -lz "^SLURMD_NODENAME=$1\$" /proc/[0-9]*/environ 2>/dev/null | xargs -r grep -lz "^SLURM_CONF=$CONF\$" 2>/dev/null | cut -d/ -f3
}

kill_service() {
  local pid
  kill -9 "$(<"$HOME_DIR/pid/$1")" 2>/dev/null || true
  while running "$1"; do sleep 0.05; done # its port is free then
  if [[ $1 == n? ]]; then
    # Slurm's own processes first: one that sees its job die would report a failed job, not a dead node
    for pid in $(steps_of "$1") $(jobs_of "$1"); do kill -9 "$pid" 2>/dev/null || true; done
  fi
  rm -f "$HOME_DIR/pid/$1"
}

down() {
  local service
  [[ -e $CONF ]] && timeout 5 scancel --user=root 2>/dev/null || true
  for service in "${NODES[@]}" slurmctld slurmdbd mariadbd munged; do
    [[ -e $HOME_DIR/pid/$service ]] && kill_service "$service"
  done
  if grep -q "# twinbench-cluster" /etc/hosts; then # in place: a container may have it mounted
    local rest
    rest=$(grep -v "# twinbench-cluster" /etc/hosts)
    printf '%s\n' "$rest" >/etc/hosts
  fi
  rm -rf "$HOME_DIR"
}

case ${1:-} in
  up) up ;;
  down) down ;;
  kill) kill_service "$2" ;;
  start) start "$2" ;;
  *) sed -n '2,16p' "$0" >&2; exit 2 ;;
esac
