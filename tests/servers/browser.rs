//! A client that behaves as a browser does where it matters to an OAuth flow: a cookie jar that
//! knows paths, `SameSite` and name prefixes (and, as browsers, no ports); navigation that says
//! where it came from; redirects one at a time; forms; `form-action` of a content security policy.
//! It runs no scripts.

mod form;
mod policy;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cookie_store::{CookieStore, RawCookie};
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, StatusCode};
use url::Url;

pub use form::Form;
use policy::{Document, FormAction, Site};

const MAX_STEPS: usize = 40;
const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    #[error("cannot visit {url}")]
    Request { url: String, source: reqwest::Error },
    #[error("not a URL: {0}")]
    BadUrl(String),
    #[error("{url} redirects without a usable location")]
    BadRedirect { url: String },
    #[error("the content security policy of {document} forbids a form to go to {target}")]
    FormActionBlocked { document: String, target: String },
    #[error("no way to refuse on {url}:\n{body}")]
    NoWayToRefuse { url: String, body: String },
    #[error("still going after {MAX_STEPS} steps: {}", .0.join(" -> "))]
    TooLong(Vec<String>),
}

type Result<T> = std::result::Result<T, BrowserError>;

/// One answer, which may be a redirect that was not followed yet.
#[derive(Clone, Debug)]
pub struct Page {
    pub url: Url,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
    /// The `Set-Cookie` headers as they came.
    pub set_cookies: Vec<String>,
    /// Where a redirect or an immediate refresh leads.
    pub location: Option<Url>,
    next: Option<Navigation>,
}

impl Page {
    pub fn forms(&self) -> Vec<Form> {
        form::forms(&self.url, &self.body)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Where a walk ended: on a page, or before a URL that the test wanted to see unvisited.
#[derive(Clone, Debug)]
pub struct FinalPage {
    pub url: Url,
    /// Absent if the URL was not visited.
    pub page: Option<Page>,
    /// All URLs that were visited, in order.
    pub trail: Vec<String>,
}

impl FinalPage {
    pub fn visited(&self) -> bool {
        self.page.is_some()
    }

    pub fn status(&self) -> Option<StatusCode> {
        self.page.as_ref().map(|page| page.status)
    }

    pub fn body(&self) -> &str {
        self.page.as_ref().map_or("", |page| &page.body)
    }

    pub fn set_cookies(&self) -> &[String] {
        self.page.as_ref().map_or(&[], |page| &page.set_cookies)
    }

    /// A parameter of the query, such as `code`, `state`, `iss` or `error`.
    pub fn query(&self, name: &str) -> Option<String> {
        self.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }
}

/// A request that is about to be made, and what it carries over from hop to hop.
#[derive(Clone, Debug)]
struct Navigation {
    method: Method,
    url: Url,
    body: Option<String>,
    /// The page that started it; absent for an address typed in.
    initiator: Option<Document>,
    site: Site,
    form_action: Option<FormAction>,
}

#[derive(Clone, Copy, PartialEq)]
enum Choice {
    Allow,
    Refuse,
    RefuseConsent,
}

pub struct Browser {
    client: reqwest::Client,
    jar: CookieStore,
    document: Option<Document>,
    /// Who signs in: typed into login forms, and looked for where a page offers a choice of users.
    pub user: String,
    /// Chromium holds redirects after a form to `form-action` too, Firefox does not.
    pub form_action_holds_redirects: bool,
}

impl Default for Browser {
    fn default() -> Self {
        Self::new()
    }
}

impl Browser {
    pub fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(30))
            .user_agent(USER_AGENT)
            .dns_resolver(Arc::new(LoopbackNames))
            .build()
            .unwrap();
        Self {
            client,
            jar: CookieStore::new(),
            document: None,
            user: "dev".to_owned(),
            form_action_holds_redirects: true,
        }
    }

    pub fn as_user(user: &str) -> Self {
        Self { user: user.to_owned(), ..Self::new() }
    }

    // ---- one request at a time ----

    /// As typed into the address bar. Redirects are not followed.
    pub async fn get(&mut self, url: &str) -> Result<Page> {
        self.send(Navigation::typed(parse(url)?)).await
    }

    /// As a link on the current page.
    pub async fn click(&mut self, url: &str) -> Result<Page> {
        let navigation = self.link(parse(url)?);
        self.send(navigation).await
    }

    /// Submits a form of the current page with its first button.
    pub async fn submit(&mut self, form: &Form) -> Result<Page> {
        let navigation = self.submission(form);
        self.send(navigation).await
    }

    /// One hop of a redirect; `None` if the page is not one.
    pub async fn follow(&mut self, page: &Page) -> Result<Option<Page>> {
        match page.next.clone() {
            Some(next) => self.send(next).await.map(Some),
            None => Ok(None),
        }
    }

    /// All redirects, up to a URL that `stop` says is not to be visited.
    pub async fn follow_until(&mut self, mut page: Page, stop: impl Fn(&Url) -> bool) -> Result<FinalPage> {
        let mut trail = vec![page.url.to_string()];
        while let Some(next) = page.next.take() {
            if stop(&next.url) {
                return Ok(FinalPage { url: next.url, page: None, trail });
            }
            if trail.len() > MAX_STEPS {
                return Err(BrowserError::TooLong(trail));
            }
            trail.push(next.url.to_string());
            page = self.send(next).await?;
        }
        Ok(FinalPage { url: page.url.clone(), page: Some(page), trail })
    }

    // ---- a whole flow ----

    /// Walks from `start` through redirects, login, user choice and consent, and agrees to all of
    /// it. Ends before a URL that begins with one of `stops` (the start excepted), or on a page that
    /// has no form or reports an error.
    pub async fn consent(&mut self, start: &str, stops: &[&str]) -> Result<FinalPage> {
        self.walk(start, stops, Choice::Allow).await
    }

    /// As [`Self::consent`], but takes the first way to refuse.
    pub async fn deny(&mut self, start: &str, stops: &[&str]) -> Result<FinalPage> {
        self.walk(start, stops, Choice::Refuse).await
    }

    /// As [`Self::deny`], but signs in first.
    pub async fn deny_consent(&mut self, start: &str, stops: &[&str]) -> Result<FinalPage> {
        self.walk(start, stops, Choice::RefuseConsent).await
    }

    async fn walk(&mut self, start: &str, stops: &[&str], choice: Choice) -> Result<FinalPage> {
        let stop = |url: &Url| stops.iter().any(|prefix| url.as_str().starts_with(prefix));
        let mut next = Navigation::typed(parse(start)?);
        let mut trail = Vec::new();
        while trail.len() < MAX_STEPS {
            let page = self.send(next).await?;
            let mut reached = self.follow_until(page, stop).await?;
            trail.append(&mut reached.trail);
            let Some(page) = &reached.page else {
                return Ok(FinalPage { trail, ..reached });
            };
            let forms = page.forms();
            if page.status.is_client_error() || page.status.is_server_error() || forms.is_empty() {
                return Ok(FinalPage { trail, ..reached });
            }
            next = self.decide(page, &forms, choice)?;
            if stop(&next.url) {
                return Ok(FinalPage { url: next.url, page: None, trail });
            }
        }
        Err(BrowserError::TooLong(trail))
    }

    fn decide(&self, page: &Page, forms: &[Form], choice: Choice) -> Result<Navigation> {
        let login = forms.iter().find(|form| form.has_password());
        let refuse = match choice {
            Choice::Allow => false,
            Choice::Refuse => true,
            Choice::RefuseConsent => login.is_none(),
        };
        if refuse {
            if let Some(form) = forms.iter().find_map(Form::refusal) {
                return Ok(self.submission(&form));
            }
            let link = form::refusal_link(&page.url, &page.body);
            match (link, choice) {
                (Some(url), _) => return Ok(self.link(url)),
                // Not the provider's page yet: go on until it is.
                (None, Choice::RefuseConsent) => {}
                (None, _) => {
                    return Err(BrowserError::NoWayToRefuse { url: page.url.to_string(), body: page.body.clone() });
                }
            }
        }
        if let Some(form) = login {
            return Ok(self.submission(&form.clone().signed_in(&self.user)));
        }
        let chosen = forms
            .iter()
            .find(|form| form.offers(&self.user))
            .or_else(|| forms.iter().find(|form| form.method == Method::POST))
            .unwrap_or(&forms[0]);
        Ok(self.submission(&chosen.agreeing()))
    }

    // ---- cookies ----

    /// The value of a cookie that would go to `url`, `HttpOnly` or not.
    pub fn cookie(&self, url: &str, name: &str) -> Option<String> {
        self.cookies(url).into_iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    /// Names and values of all cookies that would go to `url`.
    pub fn cookies(&self, url: &str) -> Vec<(String, String)> {
        let url = policy::jar_url(&parse(url).unwrap());
        self.jar.get_request_values(&url).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Takes a cookie as if `url` had answered with this `Set-Cookie` header.
    pub fn set_cookie(&mut self, url: &str, set_cookie: &str) {
        let url = parse(url).unwrap();
        self.store_cookie(&url, set_cookie);
    }

    /// Removes a cookie wherever it came from.
    pub fn remove_cookie(&mut self, name: &str) {
        let found: Vec<_> = self
            .jar
            .iter_any()
            .filter(|cookie| cookie.name() == name)
            .map(|cookie| (String::from(&cookie.domain), String::from(&cookie.path)))
            .collect();
        for (domain, path) in found {
            self.jar.remove(&domain, &path, name);
        }
    }

    pub fn clear_cookies(&mut self) {
        self.jar.clear();
    }

    fn store_cookie(&mut self, url: &Url, text: &str) {
        let Ok(cookie) = RawCookie::parse(text.to_owned()) else {
            return;
        };
        if policy::may_store(&cookie, url) {
            let _ = self.jar.insert_raw(&cookie, &policy::jar_url(url));
        }
    }

    fn cookie_header(&self, navigation: &Navigation) -> Option<String> {
        let cross = navigation.site == Site::Cross;
        let safe = navigation.method == Method::GET;
        let sent: Vec<_> = self
            .jar
            .matches(&policy::jar_url(&navigation.url))
            .into_iter()
            .filter(|cookie| !cross || policy::goes_cross_site(cookie, safe))
            .map(|cookie| format!("{}={}", cookie.name(), cookie.value()))
            .collect();
        (!sent.is_empty()).then(|| sent.join("; "))
    }

    // ---- requests ----

    fn link(&self, url: Url) -> Navigation {
        Navigation::from(self.document.clone(), Method::GET, url, None)
    }

    fn submission(&self, form: &Form) -> Navigation {
        let (method, url, body) = form.request();
        let mut navigation = Navigation::from(self.document.clone(), method, url, body);
        navigation.form_action = self.document.as_ref().map(|document| document.form_action.clone());
        navigation
    }

    async fn send(&mut self, navigation: Navigation) -> Result<Page> {
        navigation.check_form_action()?;
        let request_error = |source| BrowserError::Request { url: navigation.url.to_string(), source };
        let mut request = self
            .client
            .request(navigation.method.clone(), navigation.url.clone())
            .header(header::ACCEPT, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
            .header(header::ACCEPT_LANGUAGE, "en-US,en;q=0.5")
            .header(header::UPGRADE_INSECURE_REQUESTS, "1")
            .header("Sec-Fetch-Dest", "document")
            .header("Sec-Fetch-Mode", "navigate")
            .header("Sec-Fetch-Site", navigation.site.as_str());
        if let Some(cookies) = self.cookie_header(&navigation) {
            request = request.header(header::COOKIE, cookies);
        }
        if let Some(document) = &navigation.initiator {
            if let Some(referer) = document.referer(&navigation.url) {
                request = request.header(header::REFERER, referer);
            }
            if navigation.method != Method::GET {
                request = request.header(header::ORIGIN, document.url.origin().ascii_serialization());
            }
        }
        if let Some(body) = &navigation.body {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body.clone());
        }
        let response = request.send().await.map_err(request_error)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.text().await.map_err(request_error)?;
        self.take_in(navigation, status, headers, body)
    }

    fn take_in(
        &mut self,
        navigation: Navigation,
        status: StatusCode,
        headers: HeaderMap,
        body: String,
    ) -> Result<Page> {
        let url = navigation.url.clone();
        let set_cookies: Vec<_> = headers
            .get_all(header::SET_COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok().map(ToOwned::to_owned))
            .collect();
        for cookie in &set_cookies {
            self.store_cookie(&url, cookie);
        }
        let next = if matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            Some(self.redirected(navigation, status, &headers)?)
        } else {
            self.document = Some(Document::new(&url, &headers));
            form::refresh(&url, &body).map(|target| self.link(target))
        };
        let location = next.as_ref().map(|next| next.url.clone());
        Ok(Page { url, status, headers, body, set_cookies, location, next })
    }

    fn redirected(&self, mut navigation: Navigation, status: StatusCode, headers: &HeaderMap) -> Result<Navigation> {
        let target = headers
            .get(header::LOCATION)
            .and_then(|location| location.to_str().ok())
            .and_then(|location| navigation.url.join(location).ok())
            .ok_or_else(|| BrowserError::BadRedirect { url: navigation.url.to_string() })?;
        if !matches!(status.as_u16(), 307 | 308) && navigation.method != Method::HEAD {
            navigation.method = Method::GET;
            navigation.body = None;
        }
        if !self.form_action_holds_redirects {
            navigation.form_action = None;
        }
        navigation.site = navigation.site.max(Site::between(navigation.initiator.as_ref(), &target));
        navigation.url = target;
        Ok(navigation)
    }
}

impl Navigation {
    fn typed(url: Url) -> Self {
        Self::from(None, Method::GET, url, None)
    }

    fn from(initiator: Option<Document>, method: Method, url: Url, body: Option<String>) -> Self {
        let site = Site::between(initiator.as_ref(), &url);
        Self { method, url, body, initiator, site, form_action: None }
    }

    fn check_form_action(&self) -> Result<()> {
        match (&self.form_action, &self.initiator) {
            (Some(policy), Some(document)) if !policy.allows(&document.url, &self.url) => {
                Err(BrowserError::FormActionBlocked {
                    document: document.url.to_string(),
                    target: self.url.to_string(),
                })
            }
            _ => Ok(()),
        }
    }
}

fn parse(url: &str) -> Result<Url> {
    Url::parse(url).map_err(|_| BrowserError::BadUrl(url.to_owned()))
}

/// Browsers take every name under `localhost` for loopback; not every resolver does.
struct LoopbackNames;

impl reqwest::dns::Resolve for LoopbackNames {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        Box::pin(async move {
            let name = name.as_str();
            let found: Vec<SocketAddr> = if name == "localhost" || name.ends_with(".localhost") {
                vec![([127, 0, 0, 1], 0).into()]
            } else {
                tokio::net::lookup_host((name, 0)).await?.collect()
            };
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}
