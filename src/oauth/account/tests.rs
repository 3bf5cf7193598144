use serde_json::json;

use super::*;
use crate::api::ProviderKind;
use crate::api::provider::ProviderSpec;
use crate::grant::binding::ProviderRef;
use crate::grant::{Account, Binding, ChoiceOption, Installed, Owner, Tokens};
use crate::provider::resolved::Surroundings;

const TOKEN: &str = "at-0123456789";

fn provider() -> Provider {
    let spec: ProviderSpec = serde_json::from_value(json!({
        "oauth2": {
            "authorizationURL": "https://app.example.com/a",
            "tokenURL": "https://app.example.com/t",
            "grantIdentity": "lookup.site.id",
            "callbackParams": ["shop"],
        },
        "parameters": { "site": { "optional": true } },
        "lookups": [{
            "name": "site",
            "url": "https://app.example.com/sites",
            "choose": { "value": "id", "parameter": "site" },
        }],
        "api": { "baseURL": "https://app.example.com/{site}" },
        "metadata": {
            "team": "response.team",
            "site": "lookup.site.name",
            "shop": "request.query.shop",
            "project": "integration.projectId",
            "leak": "lookup.site.leak",
        },
        "secretMetadata": { "hook": "response.hook" },
    }))
    .unwrap();
    let reference = ProviderRef {
        kind: ProviderKind::ClusterIntegrationProvider,
        namespace: None,
        name: "app".into(),
        uid: "1".into(),
    };
    let public_url = "https://operator.example.com".parse().unwrap();
    let around = Surroundings { reference, discovered: None, public_url: &public_url, tenant: None };
    Provider::resolve(&spec, &around).unwrap()
}

fn subject(provider: &Provider) -> Subject<'_> {
    let names = Names { namespace: "acme", name: "web.app", tenant: "acme", project: "web", type_: "app" };
    Subject {
        provider,
        client: provider.oauth.as_ref(),
        identity: None,
        integration: names.variable(),
        values: BTreeMap::new(),
    }
}

fn grant(provider: &Provider, answer: &Value) -> Grant {
    let now = Timestamp::UNIX_EPOCH;
    let mut binding = Binding::of_api_key(provider.reference.clone(), None, vec![], vec![]);
    binding.token_url = Some("https://app.example.com/t".parse().unwrap());
    Grant {
        integration: Owner { namespace: "acme".into(), name: "web.app".into(), uid: "u".into() },
        epoch: 1,
        generation: 1,
        attempt: None,
        api_key: None,
        tokens: Tokens {
            access_token: Sensitive::new(TOKEN),
            token_type: "Bearer".into(),
            refresh_token: None,
            obtained_at: now,
            expires_at: None,
            refresh_obtained_at: None,
            refresh_expires_at: None,
        },
        sets: BTreeMap::new(),
        scopes: vec![],
        requested_scopes: vec![],
        missing_scopes: vec![],
        askable: false,
        account: Account::new(answer, &BTreeMap::from([("shop".to_owned(), "acme".to_owned())])),
        installation: None,
        metadata: BTreeMap::new(),
        secret_metadata: BTreeMap::new(),
        parameters: BTreeMap::new(),
        installed: Installed { by: None, agent_id: None, at: now },
        binding,
    }
}

fn chosen(element: Value) -> Answers {
    let list = told("c".into(), &json!([element]));
    Answers {
        lookups: BTreeMap::from([("site".to_owned(), list)]),
        chosen: BTreeMap::from([("site".to_owned(), ("s-1".to_owned(), element))]),
        ..Answers::default()
    }
}

#[test]
fn all_that_is_told_comes_from_one_place() {
    let provider = provider();
    let subject = subject(&provider);
    let now = Timestamp::from_second(7).unwrap();
    let first = subject.conclude(&grant(&provider, &json!({ "team": "T1", "hook": "https://hook" })), None, now);
    assert_eq!(json!(first.metadata), json!({ "project": "web", "shop": "acme", "team": "T1" }));
    assert_eq!((first.account.described.clone(), first.installation.clone()), (None, None), "not complete");

    let answers = chosen(json!({ "id": "s-1", "name": "Site", "leak": format!("is {TOKEN}") }));
    let done = subject.conclude(&first, Some(&answers), now);
    assert_eq!(json!(done.metadata), json!({ "project": "web", "shop": "acme", "site": "Site", "team": "T1" }));
    assert_eq!(done.account.described, Some(subject.described()));
    assert_eq!(done.account.api_base.as_ref().map(url::Url::as_str), Some("https://app.example.com/s-1"));
    assert_eq!(done.secret_metadata["hook"].expose(), "https://hook");
    assert!(done.installation.is_some());
    assert_eq!(done.tokens, first.tokens);
}

#[test]
fn what_a_lost_token_answer_told_stays() {
    let provider = provider();
    let subject = subject(&provider);
    let now = Timestamp::UNIX_EPOCH;
    let large = json!({ "team": "T1", "hook": "https://hook", "fill": "x".repeat(20_000) });
    let first = subject.conclude(&grant(&provider, &large), None, now);
    assert_eq!(first.account.answer, None);
    let done = subject.conclude(&first, Some(&chosen(json!({ "id": "s-1", "name": "Site" }))), now);
    assert_eq!((&done.metadata["team"], &done.metadata["site"]), (&json!("T1"), &json!("Site")));
    assert_eq!(done.secret_metadata["hook"].expose(), "https://hook");
}

#[test]
fn options_hold_no_secret() {
    let provider = provider();
    let option = |value: &str| ChoiceOption { value: value.to_owned(), title: None };
    let choice = Choice { parameter: "site".into(), options: vec![option("s-1"), option(TOKEN)] };
    let answers = Answers { choice: Some(choice), ..Answers::default() };
    let open = subject(&provider).conclude(&grant(&provider, &json!({})), Some(&answers), Timestamp::UNIX_EPOCH);
    assert_eq!(open.account.choice.unwrap().options, [option("s-1")]);
    assert_eq!((open.account.api_base, open.installation), (None, None));
    assert!(open.account.described.is_some(), "asked and answered");
}
