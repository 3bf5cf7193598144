//! A person's tokens beside the app's: two grants from one authorization, each with a life of its own.

use crate::{
    browser::{authorize, consenting, exchange, landed, post, refresh, refused, works},
    sandbox::{Rotation, SandboxOptions, Why},
};

#[tokio::test]
async fn a_person_who_is_asked_gives_tokens_of_their_own() {
    let options = SandboxOptions { user_token_lifetime: Some(60), rotation: Rotation::Strict, ..Default::default() };
    let sandbox = consenting(options);
    let code = landed(&authorize(&sandbox, &[("user_scope", "search:read")]).await).remove("code").unwrap();
    let (_, answer) = exchange(&sandbox, &code, &[]).await;
    let user = &answer["authed_user"];
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    assert_eq!((text(&user["token_type"]), text(&user["scope"])), ("user".into(), "search:read".into()));
    assert_eq!((answer["expires_in"].as_u64(), user["expires_in"].as_u64()), (Some(3600), Some(60)));

    let (app, person) = (text(&answer["refresh_token"]), text(&user["refresh_token"]));
    let (grant, of_person) = (sandbox.grant_of(&app).unwrap(), sandbox.grant_of(&person).unwrap());
    let (_, next) = refresh(&sandbox, &person).await;
    assert_eq!((text(&next["token_type"]), next["authed_user"].is_null()), ("user".into(), true), "at the top");
    assert_eq!((sandbox.grant(grant).unwrap().generation, sandbox.grant(of_person).unwrap().generation), (1, 2));

    post(&sandbox, "/revoke", &[("token", &text(&next["refresh_token"]))]).await.unwrap();
    assert_eq!(sandbox.grant(of_person).unwrap().ended.unwrap().why, Why::Revoked);
    refused(&refresh(&sandbox, &text(&next["refresh_token"])).await, 400, "invalid_grant");
    assert!(works(&sandbox, &text(&answer["access_token"])).await, "the app's goes on");
}

#[tokio::test]
async fn who_is_not_asked_gives_none() {
    let sandbox = consenting(SandboxOptions { user_token_lifetime: Some(60), ..SandboxOptions::default() });
    let code = landed(&authorize(&sandbox, &[]).await).remove("code").unwrap();
    let (_, answer) = exchange(&sandbox, &code, &[]).await;
    assert!(answer["access_token"].is_string() && answer["authed_user"].is_null());
}
