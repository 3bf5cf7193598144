//! The sandbox and `oidc-provider`, a certified server that others wrote, put to the same questions: what our provider of
//! the tests allows, a real one allows, and what a real one refuses, ours refuses too.
//!
//! Where the two may differ by the standards, a question asks for what both keep, and says which section leaves the rest
//! open.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc, dead_code)]

mod sandbox;
mod servers;

#[path = "conformance/provider.rs"]
mod provider;

#[path = "conformance/clients.rs"]
mod clients;
#[path = "conformance/codes.rs"]
mod codes;
#[path = "conformance/refresh.rs"]
mod refresh;
#[path = "conformance/tokens.rs"]
mod tokens;

/// Puts every question to both servers, as tests of their own.
macro_rules! questions {
    ($($module:ident :: $question:ident),+ $(,)?) => {
        mod of_the_sandbox {
            $(#[tokio::test]
            async fn $question() {
                crate::$module::$question(&crate::provider::Provider::sandbox()).await;
            })+
        }

        mod of_oidc_provider {
            $(#[tokio::test]
            async fn $question() {
                if let Some(provider) = crate::provider::Provider::oidc().await {
                    crate::$module::$question(&provider).await;
                }
            })+
        }
    };
}

questions! {
    codes::a_code_and_its_verifier_give_tokens,
    codes::a_code_without_its_verifier_gives_nothing,
    codes::a_request_without_a_challenge_gets_no_code,
    codes::a_code_is_bound_to_its_redirect_uri,
    codes::nobody_is_redirected_to_a_uri_that_is_not_registered,
    codes::a_code_used_twice_ends_its_grant,
    refresh::refresh_tokens_rotate,
    refresh::a_rotated_token_used_again_ends_the_grant,
    refresh::what_is_no_refresh_token_is_refused,
    refresh::a_refresh_may_narrow_its_scope_but_not_widen_it,
    tokens::introspection_tells_the_living_from_the_dead,
    tokens::a_revoked_refresh_token_ends_its_grant,
    tokens::a_revoked_access_token_is_dead,
    tokens::what_nobody_was_given_is_revoked_already,
    tokens::a_dead_access_token_opens_nothing,
    clients::a_client_proves_itself_by_header_or_body,
    clients::a_wrong_secret_is_invalid_client_everywhere,
    clients::what_one_client_was_given_is_of_no_use_to_another,
    clients::a_request_is_a_form_with_each_parameter_once,
    clients::refusals_have_one_form_and_are_not_kept,
}
