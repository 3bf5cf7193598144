#!/usr/bin/env bash
# The first process of the node, in namespaces of its own: prepares what a machine would have, and keeps its programs
# running. Ends with everything in it when it is killed.
. "$(dirname "$0")/lib.sh"
export PATH="$NODE_BIN:$PATH"
hostname "$NODE_NAME"

# A /sys of this network namespace. Of the control groups those below our own, since the group namespace is rooted there.
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755,size=1m tmpfs /sys/fs/cgroup
if [[ -e $RUN/cgroup-v2 ]]; then
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
    for controller in cpu cpuacct cpuset memory devices freezer blkio pids; do
        mkdir "/sys/fs/cgroup/$controller"
        mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller" || echo "no control group $controller"
    done
    # With version 1 kubelet insists on this hierarchy.
    mkdir /sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
fi

# kubelet sets these six for the whole machine. Files over them, in this mount namespace, keep that from the host.
mkdir -p "$RUN/sysctl"
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file="$RUN/sysctl/${setting//\//.}"
    echo "${setting#*=}" >"$file"
    mount --bind "$file" "/proc/sys/${setting%=*}"
done

for folder in /var/lib/kubelet /var/lib/containerd /var/log/pods /var/log/containers /var/lib/cni; do
    mkdir -p "$STATE$folder"
    mount --bind "$STATE$folder" "$folder"
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/containerd /run/netns /run/lock
mount --make-rshared /

until [[ -e $RUN/network ]]; do sleep 0.05; done
echo 1 >/proc/sys/net/ipv4/ip_forward

# keep NAME PROGRAM ARGUMENTS…: runs a program, and again when it ends. `$RUN/NAME.pid` is its number in here.
keep() {
    local name=$1
    shift
    while true; do
        "$@" >>"$LOGS/$name.log" 2>&1 &
        echo $! >"$RUN/$name.pid"
        wait $! || true
        echo "--- ended, and is started again" >>"$LOGS/$name.log"
        sleep 0.5
    done &
}

etcd=http://127.0.0.1:2379
keep etcd etcd --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls $etcd --advertise-client-urls $etcd \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster default=http://127.0.0.1:2380
encryption=()
[[ ! -e $CONFIG/encryption.yaml ]] || encryption=("--encryption-provider-config=$CONFIG/encryption.yaml")
keep apiserver kube-apiserver --etcd-servers=$etcd --bind-address=0.0.0.0 --secure-port=6443 \
    --advertise-address="$NODE_IP" --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" \
    --client-ca-file="$PKI/ca.crt" --kubelet-client-certificate="$PKI/apiserver-to-kubelet.crt" \
    --kubelet-client-key="$PKI/apiserver-to-kubelet.key" --kubelet-certificate-authority="$PKI/ca.crt" \
    --kubelet-preferred-address-types=InternalIP --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$PKI/service-account.pub" --service-account-signing-key-file="$PKI/service-account.key" \
    --service-cluster-ip-range="$SERVICE_CIDR" --authorization-mode=Node,RBAC \
    --enable-admission-plugins=NodeRestriction --allow-privileged=true --profiling=false "${encryption[@]}"
keep containerd containerd -c "$CONFIG/containerd.toml"
until ctr version >/dev/null 2>&1; do sleep 0.1; done
ctr -n k8s.io images import "$NODE_DIR/pause.tar" >/dev/null
until kubectl --kubeconfig "$KUBECONFIGS/admin" get --raw /readyz >/dev/null 2>&1; do sleep 0.2; done
keep controller-manager kube-controller-manager --kubeconfig="$KUBECONFIGS/controller-manager" \
    --authentication-kubeconfig="$KUBECONFIGS/controller-manager" \
    --authorization-kubeconfig="$KUBECONFIGS/controller-manager" --bind-address=127.0.0.1 --leader-elect=false \
    --use-service-account-credentials --service-account-private-key-file="$PKI/service-account.key" \
    --flex-volume-plugin-dir=/var/lib/kubelet/volumeplugins --root-ca-file="$PKI/ca.crt" \
    --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key" \
    --service-cluster-ip-range="$SERVICE_CIDR" --node-monitor-grace-period=5m
keep scheduler kube-scheduler --kubeconfig="$KUBECONFIGS/scheduler" --bind-address=127.0.0.1 --leader-elect=false \
    --authentication-kubeconfig="$KUBECONFIGS/scheduler" --authorization-kubeconfig="$KUBECONFIGS/scheduler"
keep kubelet kubelet --config="$CONFIG/kubelet.yaml" --kubeconfig="$KUBECONFIGS/kubelet" --node-ip="$NODE_IP" \
    --hostname-override="$NODE_NAME" --root-dir=/var/lib/kubelet
keep proxy kube-proxy --config="$CONFIG/proxy.yaml"

# The names of Services, as CoreDNS has them on other clusters. dnsmasq notices a changed file by itself.
mkdir -p "$RUN/hosts"
keep dns dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --local=/cluster.local/ \
    --listen-address="$NODE_IP" --bind-interfaces --hostsdir="$RUN/hosts" --user=root --pid-file=
names='{{range .items}}{{if ne .spec.clusterIP "None"}}{{.spec.clusterIP}} {{.metadata.name}}.{{.metadata.namespace}}.svc.cluster.local{{"\n"}}{{end}}{{end}}'
while true; do
    if kubectl --kubeconfig "$KUBECONFIGS/admin" get services -A -o go-template="$names" >"$RUN/services" 2>/dev/null &&
        ! cmp -s "$RUN/services" "$RUN/hosts/services"; then
        cp "$RUN/services" "$RUN/hosts/services"
        pkill -HUP -x dnsmasq || true
    fi
    sleep 1
done
