//! Further token sets: what of them is taken out of an answer, and that each is revoked.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{App, credentials};
use crate::grant::{Ended, Grant, TokenSet};
use crate::oauth::answer::{Answer, read};
use crate::oauth::received::{sets, tokens};
use crate::oauth::revoke::{RevokeError, revoke, revoke_sets};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn of_user() -> Value {
    json!({ "tokenSets": { "user": {
        "scopes": ["search:read"], "scopeParameter": "user_scope", "accessToken": "/authed_user/access_token",
    } } })
}

#[tokio::test]
async fn each_set_has_its_own_tokens_and_times() {
    let app = App::start([]).await;
    let provider = app.resolved(&of_user());
    let client = provider.oauth.as_ref().unwrap();
    let answer = |body: Value| match read(200, body.to_string().as_bytes(), &client.answer, at(0)) {
        Answer::Tokens(answer) => *answer,
        other => panic!("{other:?}"),
    };
    let both = answer(json!({
        "access_token": "bot-1", "refresh_token": "bot-r", "expires_in": 10, "refresh_token_expires_in": 100,
        "authed_user": { "access_token": "user-1", "refresh_token": "user-r", "token_type": "user", "expires_in": 20 },
    }));
    let main = tokens(&both, client, at(0));
    assert_eq!((main.expires_at, main.refresh_expires_at), (Some(at(10)), Some(at(100))));
    let user = &sets(&both, client, at(0))["user"];
    assert_eq!((user.tokens.expires_at, user.tokens.refresh_expires_at), (Some(at(20)), None));
    assert_eq!((user.tokens.token_type.as_str(), user.scopes.join(" ")), ("user", "search:read".to_owned()));
    assert_eq!(user.tokens.refresh_token.as_ref().unwrap().expose(), "user-r");

    let shared = answer(json!({
        "access_token": "bot-1", "refresh_token": "same",
        "authed_user": { "access_token": "user-1", "refresh_token": "same", "refresh_token_expires_in": 5 },
    }));
    let user = &sets(&shared, client, at(0))["user"];
    assert_eq!((&user.tokens.refresh_token, user.tokens.refresh_expires_at), (&None, None), "it is the main chain's");
    assert!(sets(&answer(json!({ "access_token": "bot-1" })), client, at(0)).is_empty());
}

fn with_sets(mut grant: Grant) -> Grant {
    for name in ["a", "b"] {
        let mut tokens = grant.tokens.clone();
        tokens.refresh_token = Some(crate::sensitive::Sensitive::new(format!("rt-{name}")));
        let set = TokenSet { generation: 1, attempt: None, tokens, scopes: vec![], ended: None };
        grant.sets.insert(name.to_owned(), set);
    }
    grant
}

#[tokio::test]
async fn every_chain_is_revoked_though_one_fails() {
    let app = App::start([(400, json!({})), (200, json!({})), (200, json!({}))]).await;
    let (_, grant) = app.described(&of_user(), &credentials(None));
    let mut grant = with_sets(grant);
    let revoked = || {
        let mut revoked: Vec<_> = app.asked().iter().map(|asked| asked.form["token"].clone()).collect();
        revoked.sort();
        revoked
    };
    let failed = revoke(&app.outbound, &grant, Some(&credentials(None))).await;
    assert!(matches!(failed, Err(RevokeError::Refused { status: 400 })), "{failed:?}");
    assert_eq!(revoked(), ["rt-0", "rt-a", "rt-b"]);

    let app = App::start([(200, json!({}))]).await;
    grant.binding.revocation.as_mut().unwrap().url = app.base.join("revoke").unwrap();
    grant.sets.get_mut("b").unwrap().ended = Some(Ended { at: at(1), message: String::new() });
    revoke_sets(&app.outbound, &grant, Some(&credentials(None))).await.unwrap();
    let asked: Vec<_> = app.asked().iter().map(|asked| asked.form["token"].clone()).collect();
    assert_eq!(asked, ["rt-a"], "neither the main chain nor what has ended");
}
