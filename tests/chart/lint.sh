#!/bin/sh
# Tools of others that look at the chart: Helm's lint, kubeconform against the API server's own schemas, kube-score, and
# promtool for the alerts. They are built once from Go modules and kept in the cache.
#
#   lint.sh quick    leaves out promtool, which takes some ten minutes to build
set -eu
cd "$(dirname "$0")/../.."

kubeconform=v0.8.0
kubescore=v1.20.0
# Version 3.16.0, as a Go module calls it.
prometheus=v0.316.0

cache="${INTEGRATION_OPERATOR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/integration-operator}"
chart=charts/integration-operator
work="$(mktemp -d)"
plane=""
finish() {
    [ -z "$plane" ] || kill "$plane" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT

# tool NAME VERSION PACKAGE: prints its path.
tool() {
    folder="$cache/tools/$1-$2"
    if [ ! -x "$folder/$1" ]; then
        echo "building $1 $2, once" >&2
        GOBIN="$folder" GOFLAGS=-trimpath CGO_ENABLED=0 go install -ldflags '-s -w' "$3@$2" >&2
    fi
    echo "$folder/$1"
}

cargo build --quiet --example cluster
cluster="${CARGO_TARGET_DIR:-target}/debug/examples/cluster"
"$cluster" build helm kubectl >"$work/programs"
helm="$(sed -n 1p "$work/programs")"
kubectl="$(sed -n 2p "$work/programs")"

for values in "$chart"/ci/*-values.yaml; do
    echo "== helm lint --strict, $(basename "$values")"
    "$helm" lint --strict --quiet "$chart" --values "$values"
    "$helm" template integration-operator "$chart" --namespace integration-operator --values "$values" \
        >"$work/$(basename "$values")"
done

echo "== kubeconform $kubeconform"
"$cluster" up >"$work/kubeconfig" 2>"$work/cluster.log" &
plane=$!
tries=0
until [ -s "$work/kubeconfig" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 120 ] || { cat "$work/cluster.log" >&2; exit 1; }
    sleep 1
done
"$kubectl" --kubeconfig "$(cat "$work/kubeconfig")" get --raw /openapi/v2 >"$work/openapi.json"
kill "$plane"
plane=""
node tests/chart/schemas.mjs "$work/openapi.json" "$work/schemas"
# Kinds of other projects, whose schemas are not at hand.
"$(tool kubeconform "$kubeconform" github.com/yannh/kubeconform/cmd/kubeconform)" -strict -summary \
    -schema-location "$work/schemas/{{ .ResourceKind }}{{ .KindSuffix }}.json" \
    -skip HTTPRoute,ServiceMonitor,PrometheusRule "$work"/*-values.yaml

echo "== kube-score $kubescore"
# Left out: images have tags that do not move, Pods are spread by constraints, and a limit of CPU would hold refreshes up.
for values in "$chart"/ci/*-values.yaml; do
    "$(tool kube-score "$kubescore" github.com/zegl/kube-score/cmd/kube-score)" score --output-format ci \
        --ignore-container-cpu-limit --ignore-test container-image-pull-policy \
        --ignore-test deployment-has-host-podantiaffinity "$work/$(basename "$values")" >"$work/score" ||
        { grep -v '^\[OK\]\|^\[SKIPPED\]' "$work/score"; exit 1; }
    echo "$(grep -c '^\[OK\]' "$work/score") checks passed, $(basename "$values")"
done

if [ "${1:-}" != quick ]; then
    echo "== promtool $prometheus"
    promtool="$(tool promtool "$prometheus" github.com/prometheus/prometheus/cmd/promtool)"
    cp "$chart/files/alerts.yaml" tests/chart/alerts.test.yaml "$work"
    "$promtool" check rules "$work/alerts.yaml"
    "$promtool" test rules "$work/alerts.test.yaml"
fi
