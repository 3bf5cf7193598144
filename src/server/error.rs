//! What goes wrong on the way to an answer, and how it is said: `{"error": "<text>", "code": "<word>"}`.
//!
//! The text of a variant is for the caller. What lies inside, such as the API server's word, is its source, which is
//! logged and never sent.

mod acting;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;
use url::Url;

use super::proxy::Outside;
use crate::act::Failure;
use crate::finalizer::FinalizerError;
use crate::flow::api_key::KeepError;
use crate::flow::attempts::AttemptError;
use crate::flow::begin::BeginError;
use crate::flow::callback::ConfirmError;
use crate::flow::exchange::ExchangeError;
use crate::grant::StoreError;
use crate::provider::api_key::KeyError;
use crate::provider::credentials::CredentialsError;
use crate::provider::endpoints::RenderError;
use crate::provider::outbound::SendError;
use crate::provider::registry::LookupError;
use crate::webhook::desk::Refused;
use acting::{Said, of_action, pause_of, told};

/// Why a request is not answered as it wished.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No route.
    #[error("there is nothing at this path")]
    NoSuchPath,
    /// A route, but not by this method (RFC 9110 §15.5.6).
    #[error("this path does not take this method; the header Allow says which")]
    MethodNotAllowed {
        /// The methods, where the router does not say so itself.
        allow: Option<&'static str>,
    },
    /// No token, or none that counts (RFC 6750 §3).
    #[error("send `Authorization: Bearer` with a valid token for the audience {audience}")]
    Unauthenticated {
        /// The audience that a token must be made for.
        audience: String,
    },
    /// The right is missing, or the tenant: the two are not told apart.
    #[error("there is no such tenant, or you may not do this there; a Role in the tenant's namespace grants it")]
    Forbidden,
    /// A part of the request is not of the form it must have.
    #[error("{what} must be {form}")]
    Malformed {
        /// The part.
        what: &'static str,
        /// The form.
        form: &'static str,
    },
    /// A query parameter stands twice.
    #[error("the query parameter {0} stands twice")]
    Twice(String),
    /// The JSON body cannot be read. Why is not kept: the reader's word may quote the body.
    #[error("the body must be JSON of the documented form, sent as application/json")]
    Json(StatusCode),
    /// The form cannot be read; likewise.
    #[error("the form cannot be read; open the link again")]
    Form(StatusCode),
    /// No provider of that name.
    #[error("OAuth not implemented for this integration type")]
    UnknownType,
    /// A provider without OAuth.
    #[error(
        "this integration type is connected by an API key: PUT it as {{\"api_key\": \"…\"}} to …/{{type}}/credentials"
    )]
    WantsApiKey,
    /// A provider without API keys.
    #[error("API keys are not used by this integration type")]
    NoApiKeys,
    /// The integration follows a key that its spec names.
    #[error("spec.apiKey names the key of this integration; change that Secret, or remove spec.apiKey first")]
    KeyInSpec,
    /// What was given is no key of this app. It is not repeated.
    #[error("{0}")]
    KeyMalformed(KeyError),
    /// The app refuses the key.
    #[error("{app} refuses this key (HTTP {status}); nothing was stored")]
    KeyRejected {
        /// The app.
        app: String,
        /// Its answer.
        status: u16,
    },
    /// The app cannot say whether the key is good.
    #[error("{app} could not be asked whether this key is good; nothing was stored, try again")]
    KeyUnproved {
        /// The app.
        app: String,
        /// When it is worth asking again.
        retry_after: Option<Duration>,
        /// What went wrong on the way.
        #[source]
        source: Option<Box<SendError>>,
    },
    /// A value differs from that of the integration, which counts.
    #[error("parameter {0} differs from spec.parameters.{0} of the integration; change it there")]
    ParameterDiffers(String),
    /// The provider does not serve the tenant.
    #[error("this integration type is not open to this tenant; a cluster administrator can open it")]
    TypeNotAllowed,
    /// The provider's description or credentials are incomplete.
    #[error("this integration type is not set up completely; the status of its provider says what is missing")]
    ProviderNotReady(#[source] Box<LookupError>),
    /// A value of the provider's form is wrong.
    #[error("{0}")]
    Parameter(Box<RenderError>),
    /// A value of the provider's form is missing.
    #[error("parameter {0} is missing; pass param.{0}=… or set spec.parameters.{0}")]
    MissingParameter(String),
    /// `return_to` is not among the frontends.
    #[error("return_to must be {}", allowed(.0))]
    ReturnTo(Vec<Url>),
    /// No such integration.
    #[error("this project has no integration of this type")]
    NoIntegration,
    /// The integration is being deleted.
    #[error("the integration is being deleted; try again when it is gone")]
    Deleting,
    /// The integration is suspended.
    #[error("the integration is suspended; set spec.suspend to false first")]
    Suspended,
    /// Nothing is held.
    #[error("nobody has connected this integration yet; install it first")]
    NotConnected,
    /// What is held can no longer be used.
    #[error("the app has ended this connection; a person has to connect again")]
    ReauthorizationRequired,
    /// What is held was made for another provider.
    #[error("the description of the app was changed so that this connection does not fit it; connect again")]
    ProviderChanged,
    /// The access token has expired, and there is no other.
    #[error("the access token has expired and cannot be refreshed; connect again")]
    TokenExpired,
    /// A refresh was asked for, and takes longer than a caller waits.
    #[error("the access token is being refreshed; try again in a few seconds")]
    Renewing,
    /// It is not known which site or account is meant.
    #[error("the app has several sites or accounts; choose one by spec.parameters.{0}, see status.choices")]
    ChoiceOpen(String),
    /// The description does not say where the API lies.
    #[error("it is not known where the API of this app lies; set api.baseURL of its provider")]
    NoApiBase,
    /// What is held cannot be read.
    #[error("the connection could not be read; try again")]
    Grant(#[source] Box<StoreError>),
    /// The description has no such action.
    #[error("this integration type has no action {action}; it has {}", listed(.known))]
    NoAction {
        /// What was asked for.
        action: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The input does not fit the action.
    #[error("the input does not fit: {}", .0.join("; "))]
    Input(Vec<String>),
    /// What the action needs was not given when connecting.
    #[error("this connection has no {0}; connect again, and grant what the app asks for it")]
    NotCaptured(String),
    /// The application's credential cannot be read.
    #[error("the application's own credential is not set up; the log of the operator says what is missing")]
    Application(#[source] Box<CredentialsError>),
    /// A path that is not passed on.
    #[error(transparent)]
    Outside(#[from] Outside),
    /// The token was refreshed while a body streamed that is gone now.
    #[error("the app did not take the access token, which is refreshed now; send the request again")]
    TokenRefreshed,
    /// An action was not carried out, or is not known to have been.
    #[error("{}", told(app, failure))]
    Action {
        /// The app's name.
        app: String,
        /// Why.
        #[source]
        failure: Box<Failure>,
    },
    /// A webhook was not taken.
    #[error(transparent)]
    Webhook(Refused),
    /// A body is larger than is taken.
    #[error("the body is larger than is taken here")]
    TooLarge,
    /// A body did not come in time.
    #[error("the body did not come in time")]
    TooSlow,
    /// Too many bodies are on their way.
    #[error("too much is on its way at once; send it again")]
    Crowded,
    /// The API server refuses the object.
    #[error("the cluster refused to store the integration; its names, a quota or a policy stand against it")]
    Refused(#[source] Box<kube::Error>),
    /// The confirmation is unknown, used or expired.
    #[error("the confirmation is not valid any more; connect again")]
    ConfirmationInvalid,
    /// Somebody else began the flow.
    #[error("the flow was begun by somebody else; only they, with the same agent_id, can confirm it")]
    NotTheInitiator,
    /// Another account is connected.
    #[error("another account of the app is connected; connect again and confirm with accept=true, or disconnect first")]
    AccountMismatch,
    /// The provider gave no tokens for the code.
    #[error("the app did not complete the connection; connect again")]
    TokenExchange(#[source] Box<ExchangeError>),
    /// The grant could not be kept.
    #[error("the connection could not be stored; connect again")]
    Store(#[source] Box<ExchangeError>),
    /// An attempt could not be read or written.
    #[error("the request could not be carried out now; try again")]
    Attempt(#[source] Box<AttemptError>),
    /// The API server did not do its part.
    #[error("the cluster could not carry this out now; try again")]
    Cluster {
        /// What was asked of it.
        operation: &'static str,
        /// The client's word.
        #[source]
        source: Box<kube::Error>,
    },
    /// Too many requests (RFC 6585 §4).
    #[error("too many requests; wait for the number of seconds in Retry-After")]
    TooMany {
        /// For how long nothing more is taken.
        retry_after: Duration,
    },
    /// The handler took too long.
    #[error("the request took too long; try again")]
    TimedOut,
    /// A mistake of this program.
    #[error("something went wrong here; the log says more")]
    Internal,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Error")]
pub(super) struct Body<'a> {
    /// What happened, and what a person can do.
    error: String,
    /// A word that stays.
    code: &'a str,
    /// What the app said itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<Said<'a>>,
}

impl ApiError {
    /// An answer of the API server that a request cannot do without.
    pub fn cluster(operation: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Cluster { operation, source: Box::new(source) }
    }

    /// The status and the stable word of each variant.
    pub fn kind(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed { .. } => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Unauthenticated { .. } => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            Self::Malformed { .. } | Self::Twice(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::Json(status) | Self::Form(status) => (*status, "invalid_request"),
            Self::UnknownType => (StatusCode::BAD_REQUEST, "unknown_integration_type"),
            Self::WantsApiKey => (StatusCode::BAD_REQUEST, "api_key_wanted"),
            Self::NoApiKeys => (StatusCode::BAD_REQUEST, "api_keys_not_used"),
            Self::KeyInSpec => (StatusCode::CONFLICT, "api_key_in_spec"),
            Self::KeyMalformed(_) => (StatusCode::UNPROCESSABLE_ENTITY, "credential_malformed"),
            Self::KeyRejected { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "credential_rejected"),
            Self::KeyUnproved { .. } => (StatusCode::BAD_GATEWAY, "provider_unavailable"),
            Self::ParameterDiffers(_) => (StatusCode::CONFLICT, "parameter_differs"),
            Self::TypeNotAllowed => (StatusCode::FORBIDDEN, "integration_type_not_allowed"),
            Self::ProviderNotReady(_) | Self::Application(_) => (StatusCode::SERVICE_UNAVAILABLE, "provider_not_ready"),
            Self::Parameter(_) => (StatusCode::BAD_REQUEST, "invalid_parameter"),
            Self::MissingParameter(_) => (StatusCode::BAD_REQUEST, "missing_parameter"),
            Self::ReturnTo(_) => (StatusCode::BAD_REQUEST, "return_to_not_allowed"),
            Self::NoIntegration => (StatusCode::NOT_FOUND, "integration_not_found"),
            Self::Deleting => (StatusCode::CONFLICT, "deleting"),
            Self::Suspended => (StatusCode::CONFLICT, "suspended"),
            Self::NotConnected => (StatusCode::CONFLICT, "not_connected"),
            Self::ReauthorizationRequired | Self::TokenExpired => (StatusCode::CONFLICT, "reauthorization_required"),
            Self::ProviderChanged => (StatusCode::CONFLICT, "provider_changed"),
            Self::Renewing => (StatusCode::SERVICE_UNAVAILABLE, "refreshing"),
            Self::ChoiceOpen(_) => (StatusCode::CONFLICT, "choice_open"),
            Self::NoApiBase => (StatusCode::CONFLICT, "api_unknown"),
            Self::NoAction { .. } => (StatusCode::NOT_FOUND, "action_not_found"),
            Self::Input(_) => (StatusCode::BAD_REQUEST, "invalid_input"),
            Self::NotCaptured(_) => (StatusCode::CONFLICT, "not_granted"),
            Self::Outside(Outside::Path) => (StatusCode::BAD_REQUEST, "path_outside"),
            Self::Outside(Outside::Closed) => (StatusCode::FORBIDDEN, "path_closed"),
            Self::TokenRefreshed => (StatusCode::CONFLICT, "token_refreshed"),
            Self::Action { failure, .. } => of_action(failure),
            Self::Webhook(refused) => webhook::kind(refused),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
            Self::Crowded => (StatusCode::SERVICE_UNAVAILABLE, "crowded"),
            Self::Refused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "refused"),
            Self::ConfirmationInvalid => (StatusCode::GONE, "confirmation_invalid"),
            Self::NotTheInitiator => (StatusCode::FORBIDDEN, "not_the_initiator"),
            Self::AccountMismatch => (StatusCode::CONFLICT, "account_mismatch"),
            Self::TokenExchange(_) => (StatusCode::BAD_GATEWAY, "token_exchange_failed"),
            Self::Store(_) | Self::Attempt(_) | Self::Grant(_) => (StatusCode::SERVICE_UNAVAILABLE, "storage_failed"),
            Self::Cluster { .. } => (StatusCode::SERVICE_UNAVAILABLE, "cluster_unavailable"),
            Self::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            Self::TimedOut => (StatusCode::SERVICE_UNAVAILABLE, "timed_out"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// The header that belongs to the status, where one does.
    pub fn header(&self) -> Option<(http::HeaderName, HeaderValue)> {
        match self {
            Self::Unauthenticated { .. } => Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::MethodNotAllowed { allow } => allow.map(|allow| (ALLOW, HeaderValue::from_static(allow))),
            Self::TooMany { retry_after } => Some((RETRY_AFTER, whole_seconds(*retry_after))),
            Self::Renewing => Some((RETRY_AFTER, HeaderValue::from_static("5"))),
            Self::Action { failure, .. } => {
                pause_of(failure).map(|pause| (RETRY_AFTER, whole_seconds(pause.max(Duration::from_secs(1)))))
            }
            Self::KeyUnproved { retry_after, .. } => retry_after.map(|pause| (RETRY_AFTER, whole_seconds(pause))),
            _ => None,
        }
    }

    /// Tells the log of what the answer keeps to itself.
    pub fn log(&self) {
        let (status, code) = self.kind();
        if status.is_server_error() {
            tracing::error!(code, error = self as &dyn std::error::Error, "a request failed");
        } else if matches!(self, Self::Refused(_)) {
            tracing::warn!(code, error = self as &dyn std::error::Error, "the API server refused an object");
        } else {
            tracing::debug!(code, error = self as &dyn std::error::Error, "a request was refused");
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let (status, code) = self.kind();
        let mut response = (status, Json(Body { error: self.to_string(), code, app: Said::of(&self) })).into_response();
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        // For a person it is put into other words further out.
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self::Json(rejection.status())
    }
}

impl From<FormRejection> for ApiError {
    fn from(rejection: FormRejection) -> Self {
        Self::Form(rejection.status())
    }
}

impl From<LookupError> for ApiError {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::NotFound { .. } => Self::UnknownType,
            LookupError::NoOAuth { .. } => Self::WantsApiKey,
            LookupError::NoApiKey { .. } => Self::NoApiKeys,
            LookupError::NotAllowed { .. } => Self::TypeNotAllowed,
            LookupError::Parameters(error) => Self::Parameter(Box::new(error)),
            error => Self::ProviderNotReady(Box::new(error)),
        }
    }
}

impl From<BeginError> for ApiError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Provider(error) => error.into(),
            BeginError::Tenant(_) => Self::Forbidden,
            BeginError::Deleting => Self::Deleting,
            BeginError::Suspended => Self::Suspended,
            BeginError::KeyInSpec => Self::KeyInSpec,
            BeginError::MissingParameter(name) => Self::MissingParameter(name),
            BeginError::Attempt(error) => Self::Attempt(Box::new(error)),
            BeginError::Finalizer(error) => error.into(),
        }
    }
}

impl From<FinalizerError> for ApiError {
    fn from(error: FinalizerError) -> Self {
        match error {
            FinalizerError::Gone { .. } => Self::Deleting,
            FinalizerError::Contended { .. } => Self::TimedOut,
            FinalizerError::Api { source, .. } => Self::Cluster { operation: "write the integration", source },
        }
    }
}

impl From<KeepError> for ApiError {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Finalizer(error) => error.into(),
            KeepError::Integration(ExchangeError::Gone) => Self::NoIntegration,
            KeepError::Integration(error) => Self::Store(Box::new(error)),
            KeepError::Store(error) => Self::Store(Box::new(error.into())),
        }
    }
}

impl From<ConfirmError> for ApiError {
    fn from(error: ConfirmError) -> Self {
        match error {
            ConfirmError::Invalid => Self::ConfirmationInvalid,
            ConfirmError::NotTheInitiator => Self::NotTheInitiator,
            ConfirmError::Storage(error) => Self::Attempt(Box::new(error)),
            ConfirmError::Exchange(error) => match error {
                ExchangeError::AccountMismatch => Self::AccountMismatch,
                ExchangeError::Gone => Self::ConfirmationInvalid,
                ExchangeError::Store(_) | ExchangeError::Integration(_) => Self::Store(Box::new(error)),
                ExchangeError::Token(_) | ExchangeError::NotSent(_) | ExchangeError::Ambiguous(_) => {
                    Self::TokenExchange(Box::new(error))
                }
            },
        }
    }
}

fn listed(known: &[String]) -> String {
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}

/// `Retry-After` counts whole seconds (RFC 9110 §10.2.3); rounded up, so that who obeys is not refused again.
fn whole_seconds(duration: Duration) -> HeaderValue {
    HeaderValue::from(duration.as_secs() + u64::from(duration.subsec_nanos() > 0))
}

fn allowed(frontends: &[Url]) -> String {
    let mut words: Vec<&str> = frontends.iter().map(Url::as_str).collect();
    words.push("a port of http://127.0.0.1 or http://[::1]");
    words.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_rounded_up() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), "1");
        assert_eq!(whole_seconds(Duration::from_mins(1)), "60");
    }

    #[test]
    fn the_inside_stays_inside() {
        let inner = kube::Error::Service("hunter2".into());
        let error = ApiError::cluster("read the secret plan")(inner);
        assert!(!error.to_string().contains("hunter2") && !error.to_string().contains("plan"));
    }

    #[test]
    fn return_to_names_what_is_allowed() {
        let url = Url::parse("https://app.example.com").unwrap();
        let text = ApiError::ReturnTo(vec![url]).to_string();
        assert!(text.contains("https://app.example.com/") && text.contains("127.0.0.1"), "{text}");
    }
}
