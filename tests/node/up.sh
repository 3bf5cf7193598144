#!/usr/bin/env bash
# Starts a Kubernetes node of one machine: etcd, control plane, kubelet and containerd in namespaces and a control group of
# their own. Needs root. When the process that `run/holder.pid` names dies, all of it is gone: mounts, processes, network.
. "$(dirname "$0")/lib.sh"
here=$(cd "$(dirname "$0")" && pwd)
# One address range, one node.
if [[ -e /sys/class/net/e2e0 ]]; then
    echo "another node is running here; stop it first:" >&2
    echo "  NODE_DIR=$(cat /sys/class/net/e2e0/ifalias) NODE_BIN=$NODE_BIN $here/down.sh" >&2
    exit 1
fi

mkdir -p "$LOGS" "$RUN" "$STATE" /var/lib/kubelet /var/lib/containerd /run/containerd /var/log/pods /var/log/containers \
    /var/lib/cni
rm -rf --one-file-system "$STATE" "$RUN"
mkdir -p "$STATE" "$RUN"
"$here/certificates.sh"
"$here/configuration.sh"

(
    me=$BASHPID
    if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
        touch "$RUN/cgroup-v2"
        group="/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/e2e-node"
        mkdir -p "$group"
        echo "$me" >"$group/cgroup.procs"
        echo "$group"
    else
        for controller in cpu cpuacct cpuset memory devices freezer blkio pids systemd; do
            own=$(awk -F: -v c=$controller '$2 == c || $2 == "name=" c { print $3 }' /proc/self/cgroup)
            group="/sys/fs/cgroup/$controller${own%/}/e2e-node"
            mkdir -p "$group"
            if [[ $controller == cpuset ]]; then
                cat "$group/../cpuset.cpus" >"$group/cpuset.cpus"
                cat "$group/../cpuset.mems" >"$group/cpuset.mems"
                echo 1 >"$group/cgroup.clone_children"
            fi
            echo "$me" >"$group/cgroup.procs"
            echo "$group"
        done
    fi >"$RUN/cgroups"
    exec setsid unshare --mount --net --pid --uts --ipc --cgroup --fork --kill-child=KILL --mount-proc \
        --propagation private "$here/inside.sh" >"$LOGS/inside.log" 2>&1 </dev/null
) &
holder=$!
echo "$holder" >"$RUN/holder.pid"
first=""
for _ in $(seq 200); do
    if [[ "$(cat "/proc/$holder/comm" 2>/dev/null)" == unshare ]]; then
        read -r first <"/proc/$holder/task/$holder/children" || true
        first=${first%% *}
        [[ -z "$first" ]] || break
    fi
    sleep 0.05
done
[[ -n "$first" ]] || { echo "the node's namespaces were not made: $(cat "$LOGS/inside.log")" >&2; exit 1; }
echo "$first" >"$RUN/first.pid"

ip link add e2e0 type veth peer name e2e1 netns "$first"
ip address add "$HOST_IP/30" dev e2e0
ip link set e2e0 up alias "$NODE_DIR"
# No default route: Pods reach the node and the host. Service addresses have a route, for the node's own processes.
nsenter -t "$first" -n sh -ec "ip link set lo up; ip address add $NODE_IP/30 dev e2e1; ip link set e2e1 up;
    ip route add $SERVICE_CIDR dev e2e1 src $NODE_IP"
ip route replace "$POD_CIDR" via "$NODE_IP"
ip route replace "$SERVICE_CIDR" via "$NODE_IP"
touch "$RUN/network"

kubectl() { "$NODE_BIN/kubectl" --kubeconfig "$KUBECONFIGS/admin" "$@"; }
for _ in $(seq 480); do
    ready=$(kubectl get node "$NODE_NAME" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null || true)
    if [[ "$ready" == True ]] && kubectl get serviceaccount default >/dev/null 2>&1; then
        exit 0
    fi
    kill -0 "$holder" 2>/dev/null || break
    sleep 0.25
done
echo "the node did not become ready; its logs are in $LOGS" >&2
tail -n 5 "$LOGS"/*.log >&2
exit 1
