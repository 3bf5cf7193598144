//! What became of a refresh whose answer was lost, where the provider can be asked.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::freshness::expiry;
use super::{ReconcileError, Run};
use crate::api::Reason;
use crate::causes::chain;
use crate::controller::refresh::{self, Failure, Job, Outcome};
use crate::controller::situation::Situation;
use crate::grant::store::Held;
use crate::grant::{Intent, StoreError};
use crate::lanes::Lane;
use crate::oauth::introspect::IntrospectError;
use crate::oauth::{identity, introspect};
use crate::provider::registry::Usable;
use crate::sensitive::Sensitive;

/// How long before its expiry an access token may count as expired at the provider.
const EXPIRED: SignedDuration = SignedDuration::from_secs(5);

impl Run<'_> {
    /// Asks the provider whether the refresh token of an unfinished refresh is still good. If it is, nothing was done.
    pub(super) async fn introspect(
        &self,
        situation: &Situation<'_>,
        usable: &Usable,
        intent: &Intent,
    ) -> Result<Outcome, ReconcileError> {
        let Some(held) = self.unfinished(situation, intent).await? else { return Ok(Outcome::Superseded) };
        let tokens = held.grant.tokens_of(intent.set.as_deref());
        let Some(refresh_token) = tokens.and_then(|tokens| tokens.refresh_token.as_ref()) else {
            return Ok(Outcome::Superseded);
        };
        let Some(asked) = self.is_active(usable, refresh_token).await else { return Ok(Outcome::Superseded) };
        let unused = asked.map_err(|error| chain(&error));
        self.after_asking(situation, usable, held, intent, unused).await
    }

    /// Whether the provider says that a refresh token is good (RFC 7662); `None` where it cannot be asked.
    pub(super) async fn is_active(
        &self,
        usable: &Usable,
        refresh_token: &Sensitive,
    ) -> Option<Result<bool, IntrospectError>> {
        let url = usable.endpoints.introspection.as_ref()?;
        let endpoint = &usable.endpoints.token;
        let networks = Arc::clone(&endpoint.private_networks);
        let (outbound, credentials) = (&self.context.outbound, &usable.credentials);
        Some(introspect::is_active(outbound, url, endpoint.into(), credentials, refresh_token, networks).await)
    }

    /// Tries the old access token, which a refresh would have ended. If it works, nothing was done.
    pub(super) async fn probe(
        &self,
        situation: &Situation<'_>,
        usable: &Usable,
        intent: &Intent,
    ) -> Result<Outcome, ReconcileError> {
        let Some(held) = self.unfinished(situation, intent).await? else { return Ok(Outcome::Superseded) };
        let (Some(endpoint), Some(tokens)) = (&usable.endpoints.identity, held.grant.tokens_of(intent.set.as_deref()))
        else {
            return Ok(Outcome::Superseded);
        };
        let unused = match identity::verify(&self.context.outbound, endpoint, &tokens.access_token).await {
            identity::Verdict::Accepted(_) => Ok(true),
            // By now, whatever became of the refresh: this process may have been frozen on the way here.
            identity::Verdict::Rejected { .. }
                if tokens.expires_at.is_some_and(|at| at <= Timestamp::now() + EXPIRED) =>
            {
                Err("the access token has expired since, so that trying it told nothing".to_owned())
            }
            identity::Verdict::Rejected { .. } => Ok(false),
            _ => Err("the provider cannot be asked what became of it".to_owned()),
        };
        self.after_asking(situation, usable, held, intent, unused).await
    }

    /// The provider was asked what became of an unfinished refresh: nothing (`true`), or it was carried out (`false`).
    async fn after_asking(
        &self,
        situation: &Situation<'_>,
        usable: &Usable,
        held: Held,
        intent: &Intent,
        unused: Result<bool, String>,
    ) -> Result<Outcome, ReconcileError> {
        Ok(match unused {
            Ok(true) => self.begin_again(situation, usable, held, intent).await,
            Ok(false) => self.lost(held, intent).await?,
            Err(cause) => Outcome::Failed(Failure {
                reason: Reason::RefreshAmbiguous,
                cause: format!("the answer to a refresh was lost, and {cause}"),
                retry_after: None,
            }),
        })
    }

    async fn unfinished(&self, situation: &Situation<'_>, intent: &Intent) -> Result<Option<Held>, StoreError> {
        let Some(view) = &situation.grant else { return Ok(None) };
        let held = self.context.grants.get(&view.name).await?;
        Ok(held.filter(|held| held.view.intent(intent.set.as_deref()) == Some(intent)))
    }

    /// The provider has not carried out the earlier refresh: a new one is as good as the first.
    async fn begin_again(&self, situation: &Situation<'_>, usable: &Usable, held: Held, intent: &Intent) -> Outcome {
        let _pass = self.context.lanes.enter(Lane::Expiry, expiry(&held.view, intent.set.as_deref())).await;
        let (uid, set) = (situation.uid.clone(), intent.set.clone());
        let job = Job { uid, view: held.view, set, replay: None, handled: None, known_good: true };
        refresh::refresh(self.context, usable, job).await
    }

    async fn lost(&self, held: Held, intent: &Intent) -> Result<Outcome, ReconcileError> {
        let cause = format!(
            "the provider carried out the refresh sent at {}, but its answer was lost on the way",
            intent.first_sent
        );
        let held = refresh::mark_ended(self.context, held, intent.set.as_deref(), &cause).await?;
        Ok(Outcome::Ended(Box::new(held)))
    }
}
