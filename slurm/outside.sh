# What stays outside of any container, where Slurm is. It takes Slurm's warnings for the job, puts the job back in the
# queue where nothing inside can, and asks Slurm's programs for what runs inside. Nobody but this shell is warned
# (--signal=B:), and it waits for what it has started in the background: bash handles no signal before the command in
# its foreground has ended, so that a warning during a slow set-up would come too late.

outside_begin() { # FOLDER of the batch
  outside_id=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
  outside_id=${outside_id:-$SLURM_JOB_ID}
  outside_early=$1/$outside_id.early
  outside_talk=$1/$outside_id.run${SLURM_RESTART_COUNT:-0} # a run on a node that was given up may still look into its own
  rm -rf "$1/$outside_id".run*
  mkdir -p "$outside_talk"
  ln -sfn "${SLURM_ARRAY_TASK_ID:-0}.pkl" "$1/${outside_id}_submitted.pkl" # as submitit looks for it
  outside_serve &
  disown # or the log's last words are that it was killed
  trap 'kill -KILL '$!'; rm -rf "$outside_talk"' EXIT
}

# Each request is a file of words, one a line, moved there whole; so is the exit code that ends the answer.
outside_serve() {
  local ask words name
  trap '' USR2 TERM # as long as the job says its last words
  for name in "${!SLURM_@}"; do # a job submitted from here is no part of this one
    [[ $name == SLURM_CONF ]] || unset "$name"
  done
  while sleep 0.3 && [[ -d $outside_talk ]]; do
    for ask in "$outside_talk"/*.ask; do
      [[ -e $ask ]] || continue
      mapfile -t words <"$ask"
      rm -f "$ask"
      case ${words[0]} in
        sbatch | squeue | sacct | scontrol | scancel | sinfo | sacctmgr)
          timeout --signal=KILL 30 "${words[@]}" <"${ask%ask}in" >"${ask%ask}out" 2>"${ask%ask}err"
          echo $? >"${ask%ask}part" ;;
        *) echo 127 >"${ask%ask}part" ;;
      esac
      mv "${ask%ask}part" "${ask%ask}code"
    done
  done
}

outside_watch() { # PROCESS that runs the step, SECONDS after which a warning is the time limit's
  local seen code
  outside_step=$1 outside_late=$2
  ((outside_signals == 0)) || outside_warned
  while seen=$outside_signals; wait "$outside_step"; code=$?; ((outside_signals > seen)); do :; done # a signal ends `wait`
  [[ ! -e $outside_talk/ready ]] || rm -f "$outside_early"
  # 140 and 143: it died of USR2 or TERM, which Slurm can send to the step alone, and said nothing
  if ((code)) && [[ ! -e $outside_talk/settled ]] && ((outside_signals || code == 140 || code == 143)); then
    outside_put_back
  fi
  exit "$code"
}

outside_warned() {
  kill -0 "$outside_step" 2>/dev/null || return 0
  if [[ ! -e $outside_talk/ready ]]; then
    outside_put_back # it has done nothing yet that is worth saving
  else
    : >"$outside_talk/warned" || kill -USR2 "$outside_step" # srun passes it on
  fi
}

outside_put_back() { # return if the job ends anyway, as when it was cancelled
  local tries=0 state early most=20 # as many as slurm/node.py allows a job that has begun
  ((SECONDS < outside_late)) || most=3
  until state=$(squeue --noheader --jobs="$outside_id" --format=%T); do
    ((++tries < 6)) || outside_fail "Slurm does not answer, so that the job cannot be put back in the queue"
    sleep 5
  done
  [[ $state == RUNNING ]] || return 0
  early=$(($(cat "$outside_early" 2>/dev/null) + 1))
  ((early < most)) || outside_fail "interrupted $early times in a row before its work began, the last time after" \
    "$SECONDS s; shorten cluster.setup or raise minutes"
  echo "$early" >"$outside_early"
  echo "twinbench: out of time or preempted before its work began; Slurm starts it again"
  scontrol requeue "$outside_id" || outside_fail "the job could not be put back in the queue"
}

outside_fail() { # SENTENCE
  echo "twinbench: $*"
  exit 1
}
