#!/usr/bin/env bash
# Makes a certificate authority, the certificates of all components, and their kubeconfigs.
. "$(dirname "$0")/lib.sh"
rm -rf "$PKI" "$KUBECONFIGS"
mkdir -p "$PKI" "$KUBECONFIGS"
cd "$PKI"
umask 077

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

key ca
openssl req -x509 -new -key ca.key -days 30 -subj /CN=e2e-node -out ca.crt \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign

# certificate NAME SUBJECT USAGE [ALTERNATIVE NAMES]
certificate() {
    key "$1"
    openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
    {
        echo "basicConstraints=CA:FALSE"
        echo "keyUsage=digitalSignature"
        echo "extendedKeyUsage=$3"
        [[ -z "${4:-}" ]] || echo "subjectAltName=$4"
    } >"$1.extensions"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile "$1.extensions" \
        -out "$1.crt" 2>/dev/null
    rm "$1.csr" "$1.extensions"
}

names="DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
certificate apiserver /CN=kube-apiserver serverAuth "$names,IP:127.0.0.1,IP:$NODE_IP,IP:$API_IP"
certificate kubelet-server "/CN=system:node:$NODE_NAME/O=system:nodes" serverAuth "DNS:$NODE_NAME,IP:$NODE_IP,IP:127.0.0.1"
certificate apiserver-to-kubelet /O=system:masters/CN=apiserver-to-kubelet clientAuth
certificate admin /O=system:masters/CN=admin clientAuth
certificate controller-manager /CN=system:kube-controller-manager clientAuth
certificate scheduler /CN=system:kube-scheduler clientAuth
certificate proxy /CN=system:kube-proxy clientAuth
certificate kubelet "/O=system:nodes/CN=system:node:$NODE_NAME" clientAuth
openssl genrsa -out service-account.key 2048 2>/dev/null
openssl rsa -in service-account.key -pubout -out service-account.pub 2>/dev/null

encoded() { base64 -w0 <"$1"; }

for name in admin controller-manager scheduler proxy kubelet; do
    cat >"$KUBECONFIGS/$name" <<Y
apiVersion: v1
kind: Config
current-context: node
clusters: [{name: node, cluster: {server: "$API_URL", certificate-authority-data: $(encoded ca.crt)}}]
users: [{name: it, user: {client-certificate-data: $(encoded "$name.crt"), client-key-data: $(encoded "$name.key")}}]
contexts: [{name: node, context: {cluster: node, user: it}}]
Y
done
