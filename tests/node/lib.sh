# What the scripts of the node share. NODE_DIR holds its state: certificates, files of etcd and containerd, logs.
# shellcheck shell=bash
set -euo pipefail

: "${NODE_DIR:?a folder for the state of the node}"
: "${NODE_BIN:?a folder with etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet and kube-proxy}"

NODE_NAME=node
# A pair of linked interfaces: the host's end, and the node's. Pods reach the host, and nothing beyond it.
HOST_IP=10.99.0.1
NODE_IP=10.99.0.2
POD_CIDR=10.244.0.0/24
SERVICE_CIDR=10.96.0.0/16
API_IP=10.96.0.1
API_URL="https://$NODE_IP:6443"

PKI=$NODE_DIR/pki
KUBECONFIGS=$NODE_DIR/kubeconfig
CONFIG=$NODE_DIR/config
LOGS=$NODE_DIR/logs
STATE=$NODE_DIR/state
RUN=$NODE_DIR/run
PAUSE_IMAGE=e2e.invalid/pause:1
export NODE_NAME HOST_IP NODE_IP POD_CIDR SERVICE_CIDR API_IP API_URL PKI KUBECONFIGS CONFIG LOGS STATE RUN PAUSE_IMAGE
