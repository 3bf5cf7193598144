//! Who can reach what: paths that are open to the outside, and networks.

use serde_json::{Value, json};

use crate::helm::{Helm, RELEASE, object};
use crate::{full, with};

fn ingress_paths(objects: &[Value]) -> Vec<String> {
    let rule = &object(objects, "Ingress", RELEASE)["spec"]["rules"][0];
    let paths = rule["http"]["paths"].as_array().unwrap().iter();
    paths.map(|path| path["path"].as_str().unwrap().to_owned()).collect()
}

fn route_paths(objects: &[Value]) -> Vec<String> {
    let rule = &object(objects, "HTTPRoute", RELEASE)["spec"]["rules"][0];
    let matches = rule["matches"].as_array().unwrap().iter();
    matches.map(|one| one["path"]["value"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn only_public_paths_lead_inside_unless_asked() {
    let Some(helm) = Helm::or_skip("only_public_paths_lead_inside_unless_asked") else { return };
    let values = |api: bool| {
        let gateway = json!([{ "name": "public" }]);
        with(json!({
            "ingress": { "enabled": true, "exposeApi": api },
            "httpRoute": { "enabled": true, "exposeApi": api, "parentRefs": gateway },
        }))
    };
    let closed = helm.objects(RELEASE, &values(false));
    assert_eq!(ingress_paths(&closed), ["/api/public"]);
    assert_eq!(route_paths(&closed), ["/api/public"]);
    let open = helm.objects(RELEASE, &values(true));
    assert_eq!(ingress_paths(&open), ["/api/public", "/v1"]);
    assert_eq!(route_paths(&open), ["/api/public", "/v1"]);
    // Below the public address's own path, as the operator serves them.
    let full = helm.objects(RELEASE, &full());
    assert_eq!(ingress_paths(&full), ["/apps/api/public", "/apps/v1"]);
    assert_eq!(route_paths(&full), ["/apps/api/public"]);
    assert_eq!(object(&full, "Ingress", RELEASE)["spec"]["rules"][0]["host"], "connect.example.com");
}

#[test]
fn nothing_public_leads_to_probes_and_metrics() {
    let Some(helm) = Helm::or_skip("nothing_public_leads_to_probes_and_metrics") else { return };
    let objects = helm.objects(RELEASE, &full());
    let service = object(&objects, "Service", RELEASE);
    assert_eq!(service["spec"]["type"], "NodePort");
    let ports = service["spec"]["ports"].as_array().unwrap();
    assert_eq!(ports.iter().map(|port| &port["targetPort"]).collect::<Vec<_>>(), ["http"]);
    assert_eq!(object(&objects, "Service", "integration-operator-metrics")["spec"]["type"], "ClusterIP");
    let backend = &object(&objects, "Ingress", RELEASE)["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
    assert_eq!(backend, &json!({ "name": RELEASE, "port": { "name": "http" } }));
}

/// The rules of a network policy for a port.
fn rule<'a>(policy: &'a Value, direction: &str, port: u16) -> Vec<&'a Value> {
    let rules = policy["spec"][direction].as_array().unwrap().iter();
    rules.filter(|rule| rule["ports"].as_array().unwrap().iter().any(|one| one["port"] == port)).collect()
}

#[test]
fn the_network_is_open_where_it_has_to_be() {
    let Some(helm) = Helm::or_skip("the_network_is_open_where_it_has_to_be") else { return };
    let networks = json!({ "clusterNetworks": ["10.0.0.0/8", "fd00:10::/64"] });
    let objects = helm.objects(RELEASE, &with(networks.clone()));
    let policy = object(&objects, "NetworkPolicy", RELEASE);
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    assert!(rule(policy, "ingress", 8080)[0]["from"].is_null(), "people come from everywhere");
    assert_eq!(rule(policy, "ingress", 9090)[0]["from"], json!([{ "namespaceSelector": {} }]));
    // What providers are reached by closes the cluster; what the API server is reached by cannot, as it lies there.
    let providers = rule(policy, "egress", 443).pop().unwrap();
    assert_eq!(
        providers["to"],
        json!([
            { "ipBlock": { "cidr": "0.0.0.0/0", "except": ["169.254.0.0/16", "168.63.129.16/32", "10.0.0.0/8"] } },
            { "ipBlock": { "cidr": "::/0", "except": ["fe80::/10", "fd00:ec2::254/128", "fd00:10::/64"] } },
        ])
    );
    // Unless it is told where the API server is.
    let mut values = with(networks);
    values["networkPolicy"] = json!({ "apiServer": { "cidrs": ["10.1.2.3/32"] }, "metricsFrom": [] });
    let objects = helm.objects(RELEASE, &values);
    let policy = object(&objects, "NetworkPolicy", RELEASE);
    assert_eq!(rule(policy, "egress", 6443)[0]["to"], json!([{ "ipBlock": { "cidr": "10.1.2.3/32" } }]));
    let from = |port| {
        let rules = rule(policy, "ingress", port).into_iter();
        rules.map(|rule| rule["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"].clone())
    };
    assert_eq!(from(9090).collect::<Vec<_>>(), ["test"], "nobody but the Pod of `helm test`");
    values["tests"] = json!({ "enabled": false });
    let objects = helm.objects(RELEASE, &values);
    assert!(rule(object(&objects, "NetworkPolicy", RELEASE), "ingress", 9090).is_empty());
}
