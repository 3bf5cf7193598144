use super::*;
use crate::provider::catalogue;
use crate::provider::expression::Expression;

/// What is said of a file, a line each.
fn said(text: &str) -> Vec<String> {
    lint(text).iter().map(ToString::to_string).collect()
}

/// A description of an app, whose spec begins in line 6, with `spec` indented by two.
fn file(spec: &str) -> String {
    let head =
        "apiVersion: integrations.tms.dev/v1alpha1\nkind: ClusterIntegrationProvider\nmetadata:\n  name: acme\nspec:\n";
    head.to_owned() + &indented(spec)
}

/// Two columns further right.
fn indented(text: &str) -> String {
    text.trim_matches('\n').lines().fold(String::new(), |text, line| text + "  " + line + "\n")
}

/// A client with nothing wrong; what follows is a part of `oauth2`, from line 12 on.
fn client(more: &str) -> String {
    let more = indented(more);
    file(&format!(
        "clientCredentialsRef: {{name: acme}}\noauth2:\n  authorizationURL: https://acme.test/authorize\n  tokenURL: https://acme.test/token\n  scopes: [a]\n  pkce: S256\n{more}"
    ))
}

#[track_caller]
fn assert_said(text: &str, wanted: &[&str]) {
    assert_eq!(said(text), wanted, "in\n{text}");
}

#[test]
fn a_sound_description_is_passed() {
    assert_said(&client(""), &[]);
    assert_said(&file("preset: slack\nclientCredentialsRef: {name: slack}\n"), &[]);
    for name in catalogue::names() {
        let errors = lint(catalogue::document(name).unwrap());
        assert_eq!(errors, [], "{name}");
    }
}

#[test]
fn files_are_read_as_they_are() {
    assert_said(
        "kind: Secret\n",
        &["1:1: there is no ClusterIntegrationProvider and no IntegrationProvider in this file"],
    );
    assert_said(&format!("kind: Secret\n---\n{}---\n", client("")), &[]);
    assert_said("a: b\n", &["1:1: kind: is missing; write ClusterIntegrationProvider or IntegrationProvider"]);
    let broken = said("a: [1\nb: 2\n");
    assert!(broken.len() == 1 && broken[0].contains(": is no YAML: "), "{broken:?}");
    let twice = client("scopes: [b]\n");
    assert_said(&twice, &["12:5: spec.oauth2.scopes: stands here twice; keep one"]);
}

#[test]
fn names_and_versions() {
    let text = client("").replace("v1alpha1", "v1").replace("name: acme\nspec", "name: Acme\nspec");
    assert_said(
        &text,
        &[
            "1:13: apiVersion: must be integrations.tms.dev/v1alpha1",
            "4:9: metadata.name: Acme is no DNS label; write lower-case letters, digits and hyphens, 63 at most",
        ],
    );
}

#[test]
fn fields_that_there_are_not() {
    assert_said(
        &client("tokenUrl: https://acme.test/\nbanana: 1\n")[..],
        &[
            "12:5: spec.oauth2.tokenUrl: there is no such field; did you mean tokenURL?",
            &format!("13:5: spec.oauth2.banana: there is no such field; there are {}", fields_of_oauth2()),
        ],
    );
}

fn fields_of_oauth2() -> String {
    let schema = schema::of(ProviderKind::ClusterIntegrationProvider);
    let fields = schema["properties"]["spec"]["properties"]["oauth2"]["properties"].as_object().cloned().unwrap();
    fields.keys().cloned().collect::<Vec<_>>().join(", ")
}

#[test]
fn values_that_the_schema_refuses() {
    let text = client(
        r#"
clientAuthentication: basic
scopeSeparator: ", "
accessTokenLifetime: 1 hour
authorizationParams:
  permissions: 8
unreportedScopes: offline_access
refresh:
  graceSeconds: 100000
tokenResponse:
  accessToken: data.token
revocation:
  gone: [200]
scopeAliases:
"#,
    );
    assert_said(
        &text,
        &[
            "12:27: spec.oauth2.clientAuthentication: basic is none of ClientSecretPost, ClientSecretBasic, PrivateKeyJwt, None; did you mean ClientSecretBasic?",
            "13:21: spec.oauth2.scopeSeparator: has 2 characters; 1 are allowed",
            "14:26: spec.oauth2.accessTokenLifetime: 1 hour does not fit; write a length of time such as 90s, 10m or 720h",
            "16:20: spec.oauth2.authorizationParams.permissions: is a number, and should be a text; write \"8\" in quotes",
            "17:23: spec.oauth2.unreportedScopes: is a text, and should be a list; write [offline_access]",
            "19:21: spec.oauth2.refresh.graceSeconds: is 100000; write 86400 at most",
            "21:20: spec.oauth2.tokenResponse.accessToken: data.token does not fit; write a JSON pointer (RFC 6901) such as /data/access_token",
            "22:5: spec.oauth2.revocation.url: is missing; set it, or set oauth2.revocationURL for RFC 7009",
            "23:14: spec.oauth2.revocation.gone[0]: is 200; write 300 at least",
            "24:17: spec.oauth2.scopeAliases: is empty; give it a value or leave it out",
        ],
    );
}

#[test]
fn lists_and_objects_have_bounds() {
    let scopes: Vec<String> = (0..129).map(|number| format!("s{number}")).collect();
    let text = client("").replace("scopes: [a]", &format!("scopes: [{}]", scopes.join(", ")));
    assert_said(&text, &["10:13: spec.oauth2.scopes: has 129 items; 128 are allowed"]);
    let text = file("apiKey:\n  title: Key\nlookups:\n  - url: https://acme.test/\n");
    assert_eq!(said(&text).len(), 1);
    assert!(said(&text)[0].starts_with("9:7: spec.lookups[0].name: is missing; write it: "), "{:?}", said(&text));
}

#[test]
fn addresses() {
    let text = file(
        r"
clientCredentialsRef: {name: acme}
oauth2:
  authorizationURL: http://acme.test/authorize
  tokenURL: https://{site}/token
  revocationURL: https://acme.test/{si te}
  scopes: []
identity:
  url: acme.test/me
parameters:
  site: {}
",
    );
    assert_said(
        &text,
        &[
            "8:23: spec.oauth2.authorizationURL: is http; write https",
            "9:15: spec.oauth2.tokenURL: the host of the URL template has no fixed suffix of at least two labels; let the host end in a fixed domain, as in https://{name}.example.com",
            "10:38: spec.oauth2.revocationURL: the URL template has a misplaced brace at byte 18; a value of the form is written {name}",
            "13:10: spec.identity.url: the URL template does not give a URL: relative URL without a base; write an address such as https://api.example.com/path",
        ],
    );
    assert_said(
        &file("clientCredentialsRef: {name: acme}\noauth2:\n  scopes: []\n"),
        &[
            "7:3: spec.oauth2.authorizationURL: is missing; set it, or set oauth2.issuer to a server with metadata (RFC 8414)",
            "7:3: spec.oauth2.tokenURL: is missing; set it, or set oauth2.issuer to a server with metadata (RFC 8414)",
        ],
    );
}

#[test]
fn expressions_are_wrong_at_their_place() {
    let text = client("")
        + "  metadata:\n    a: response.team.\n    b: |\n      response.x ==\n        oops.y\n    c: 'user.id'\n    d: response.access_token\n    e: identity.id\n";
    let unknown = |name: &str| Expression::compile(name).map(|_| ()).unwrap_err().to_string();
    assert_said(
        &text,
        &[
            "13:22: spec.metadata.a: the expression is wrong at line 1, column 15: Syntax error: no viable alternative at input '.'",
            &format!("16:9: spec.metadata.b: {}", unknown("oops")),
            &format!("17:9: spec.metadata.c: {}", unknown("user")),
            "18:8: spec.metadata.d: asks for access_token, which is always empty: expressions never see tokens; leave it out",
            "19:8: warning: spec.metadata.e: is always empty: there is no identity call; write identity.url",
        ],
    );
}

#[test]
fn the_form() {
    let text = client("authorizationParams:\n  team: '{taem}'\n  state: x\n")
        .replace("acme.test/token", "{where}.acme.test/token")
        + "  parameters:\n    team: {}\n    site: {pattern: '('}\n    region: {default: mars, pattern: eu|us}\n    where: {optional: true}\n  metadata: {x: parameters.regoin}\n";
    assert_said(
        &text,
        &[
            "13:14: spec.oauth2.authorizationParams.team: uses {taem}, and spec.parameters has no taem; add it there; did you mean team?",
            "14:7: spec.oauth2.authorizationParams.state: is a parameter of the protocol, which the operator sets; leave it out",
            "16:5: warning: spec.parameters.team: is asked for and never used; use it as {team}, or leave it out",
            "17:5: warning: spec.parameters.site: is asked for and never used; use it as {site}, or leave it out",
            "17:21: spec.parameters.site.pattern: is no regular expression: unclosed group",
            "18:5: warning: spec.parameters.region: is asked for and never used; use it as {region}, or leave it out",
            "18:23: spec.parameters.region.default: mars would be refused: the value does not match eu|us",
            "19:13: spec.parameters.where.optional: oauth2.tokenURL needs it in its host or path, so it cannot be left out; give it a default",
            "20:17: spec.metadata.x: asks for the value regoin, and spec.parameters has no regoin; add it there; did you mean region?",
        ],
    );
}

#[test]
fn what_is_for_the_other_kind_or_for_nothing() {
    let text = client("refresh: {graceSeconds: 5}\n").replace("kind: Cluster", "kind: ")
        + "  allowedPrivateCIDRs: [10.0.0.0/8]\n  allowedNamespaces: {}\n";
    assert_said(
        &text,
        &[
            "3:1: warning: metadata.namespace: is not said; the file is applied to the namespace of the context",
            "12:15: spec.oauth2.refresh.graceSeconds: counts with rotation: Grace only; write that too, or leave it out",
            "13:3: spec.allowedPrivateCIDRs: is for ClusterIntegrationProvider only; leave it out",
            "14:3: spec.allowedNamespaces: is for ClusterIntegrationProvider only; leave it out",
        ],
    );
    let text = client("").replace("    scopes: [a]\n", "") + "  allowedPrivateCIDRs: [10.0.0.0/8, 10.0.0]\n";
    assert_said(
        &text,
        &[
            "7:3: warning: spec.oauth2.scopes: names no scopes; write those to ask for, or [] for an app that has none",
            "11:37: spec.allowedPrivateCIDRs[1]: 10.0.0 is no network; write one such as 10.1.0.0/16",
        ],
    );
}

#[test]
fn presets_and_ways_to_connect() {
    assert_said(
        &file("preset: slak\n"),
        &[
            "6:11: spec.preset: there is no preset `slak` (`integration-operator providers` lists all); did you mean slack?",
        ],
    );
    assert_said(
        &file("displayName: Acme\n"),
        &["5:1: spec: says no way to connect; write oauth2 or apiKey, or a preset that has one"],
    );
    assert_said(
        &file("preset: slack\n"),
        &[
            "5:1: warning: spec.clientCredentialsRef: is missing; name the Secret with client_id and client_secret, without which nobody can connect",
        ],
    );
}

#[test]
fn one_mistake_hides_no_other() {
    let text = client("pkcs: S256\n")
        .replace("scopes: [a]", "scopes: a")
        .replace("https://acme.test/token", "https://{x}.acme.test/t")
        + "  metadata: {a: '(', b: 'x.y'}\n";
    let fields: Vec<String> = lint(&text).into_iter().map(|finding| finding.field).collect();
    let wanted =
        ["spec.oauth2.tokenURL", "spec.oauth2.scopes", "spec.oauth2.pkcs", "spec.metadata.a", "spec.metadata.b"];
    assert_eq!(fields, wanted);
}
