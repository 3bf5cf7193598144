//! Forms and links of an HTML page.

use reqwest::Method;
use scraper::{ElementRef, Html, Selector};
use url::Url;

const REFUSALS: [&str; 8] = ["deny", "cancel", "reject", "refuse", "abort", "decline", "disallow", "not now"];

/// A form as a browser would submit it.
#[derive(Clone, Debug)]
pub struct Form {
    pub method: Method,
    pub action: Url,
    /// All that would be sent, but for the button.
    pub fields: Vec<(String, String)>,
    pub buttons: Vec<Button>,
    /// What a person reads in it.
    pub text: String,
    password_fields: Vec<String>,
    text_fields: Vec<String>,
    pressed: usize,
}

#[derive(Clone, Debug)]
pub struct Button {
    pub label: String,
    /// Sent if it is this button that is pressed.
    pub field: Option<(String, String)>,
    action: Option<Url>,
    method: Option<Method>,
}

impl Form {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(found, _)| found != name);
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The button, by a part of its label or by the value it sends.
    #[must_use]
    pub fn press(mut self, button: &str) -> Option<Self> {
        let wanted = button.to_lowercase();
        self.pressed = self.buttons.iter().position(|button| button.says(&wanted))?;
        Some(self)
    }

    pub(super) fn has_password(&self) -> bool {
        !self.password_fields.is_empty()
    }

    pub(super) fn signed_in(mut self, user: &str) -> Self {
        for name in std::mem::take(&mut self.text_fields) {
            self = self.with(&name, user);
        }
        for name in std::mem::take(&mut self.password_fields) {
            self = self.with(&name, "any password");
        }
        self
    }

    /// Whether this is the form that picks this user among several.
    pub(super) fn offers(&self, user: &str) -> bool {
        self.fields.iter().any(|(_, value)| value == user) || self.text.split_whitespace().any(|word| word == user)
    }

    /// This form with the button that says no, if it has one.
    pub(super) fn refusal(&self) -> Option<Self> {
        let pressed = self.buttons.iter().position(|button| REFUSALS.iter().any(|word| button.says(word)))?;
        Some(Self { pressed, ..self.clone() })
    }

    /// This form with the first button that does not say no.
    pub(super) fn agreeing(&self) -> Self {
        let says_no = |button: &Button| REFUSALS.iter().any(|word| button.says(word));
        let pressed = self.buttons.iter().position(|button| !says_no(button)).unwrap_or(self.pressed);
        Self { pressed, ..self.clone() }
    }

    pub(super) fn request(&self) -> (Method, Url, Option<String>) {
        let button = self.buttons.get(self.pressed);
        let mut fields = url::form_urlencoded::Serializer::new(String::new());
        fields.extend_pairs(&self.fields);
        if let Some((name, value)) = button.and_then(|button| button.field.as_ref()) {
            fields.append_pair(name, value);
        }
        let mut action = button.and_then(|button| button.action.clone()).unwrap_or_else(|| self.action.clone());
        let method = button.and_then(|button| button.method.as_ref()).unwrap_or(&self.method);
        if *method == Method::GET {
            action.set_query(Some(&fields.finish()));
            (Method::GET, action, None)
        } else {
            (method.clone(), action, Some(fields.finish()))
        }
    }
}

impl Button {
    fn says(&self, word: &str) -> bool {
        self.label.to_lowercase().contains(word)
            || self.field.as_ref().is_some_and(|(_, value)| value.to_lowercase().contains(word))
    }
}

pub(super) fn forms(page: &Url, body: &str) -> Vec<Form> {
    let html = Html::parse_document(body);
    let base = base(page, &html);
    html.select(&selector("form")).map(|form| read(&base, form)).collect()
}

/// The link that says no, such as "Cancel".
pub(super) fn refusal_link(page: &Url, body: &str) -> Option<Url> {
    let html = Html::parse_document(body);
    let base = base(page, &html);
    html.select(&selector("a[href]")).find_map(|link| {
        let text = text(link).to_lowercase();
        REFUSALS.iter().any(|word| text.contains(word)).then(|| base.join(link.attr("href")?).ok()).flatten()
    })
}

/// Where `<meta http-equiv="refresh">` leads, if it does at once.
pub(super) fn refresh(page: &Url, body: &str) -> Option<Url> {
    if !body.contains("http-equiv") {
        return None;
    }
    let html = Html::parse_document(body);
    let meta = html
        .select(&selector("meta[http-equiv]"))
        .find(|meta| meta.attr("http-equiv").is_some_and(|name| name.eq_ignore_ascii_case("refresh")))?;
    let (delay, target) = meta.attr("content")?.split_once([';', ','])?;
    let target = target.trim();
    let target = target
        .split_once('=')
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("url"))
        .map_or(target, |(_, url)| url);
    (delay.trim() == "0").then(|| page.join(target.trim().trim_matches(['"', '\''])).ok()).flatten()
}

fn base(page: &Url, html: &Html) -> Url {
    let href = html.select(&selector("base[href]")).next().and_then(|base| base.attr("href"));
    href.and_then(|href| page.join(href).ok()).unwrap_or_else(|| page.clone())
}

fn read(base: &Url, element: ElementRef<'_>) -> Form {
    let mut form = Form {
        method: method(element.attr("method")).unwrap_or(Method::GET),
        // An empty action is the page itself.
        action: element.attr("action").and_then(|action| base.join(action).ok()).unwrap_or_else(|| base.clone()),
        fields: Vec::new(),
        buttons: Vec::new(),
        text: text(element),
        password_fields: Vec::new(),
        text_fields: Vec::new(),
        pressed: 0,
    };
    for control in element.select(&selector("input, button, select, textarea")) {
        if control.attr("disabled").is_none() {
            form.take(base, control);
        }
    }
    form
}

impl Form {
    fn take(&mut self, base: &Url, control: ElementRef<'_>) {
        let name = control.attr("name").unwrap_or_default().to_owned();
        let value = control.attr("value").map(ToOwned::to_owned);
        let kind = control.attr("type").unwrap_or_default().to_lowercase();
        let value = match (control.value().name(), kind.as_str()) {
            ("button", "" | "submit") | ("input", "submit" | "image") => {
                let label =
                    if control.value().name() == "button" { text(control) } else { value.clone().unwrap_or_default() };
                let field = (!name.is_empty()).then(|| (name, value.unwrap_or_default()));
                let action = control.attr("formaction").and_then(|action| base.join(action).ok());
                self.buttons.push(Button { label, field, action, method: method(control.attr("formmethod")) });
                return;
            }
            ("button", _) | ("input", "button" | "reset" | "file") => return,
            ("input", "checkbox" | "radio") => match control.attr("checked") {
                Some(_) => value.unwrap_or_else(|| "on".to_owned()),
                None => return,
            },
            ("select", _) => match selected(control) {
                Some(value) => value,
                None => return,
            },
            ("textarea", _) => control.text().collect(),
            (_, kind) => {
                match kind {
                    "password" => self.password_fields.push(name.clone()),
                    "" | "text" | "email" => self.text_fields.push(name.clone()),
                    _ => {}
                }
                value.unwrap_or_default()
            }
        };
        if !name.is_empty() {
            self.fields.push((name, value));
        }
    }
}

fn selected(select: ElementRef<'_>) -> Option<String> {
    let options = selector("option");
    let option = select
        .select(&options)
        .find(|option| option.attr("selected").is_some())
        .or_else(|| select.select(&options).next())?;
    Some(option.attr("value").map_or_else(|| text(option), ToOwned::to_owned))
}

fn method(name: Option<&str>) -> Option<Method> {
    name.map(|name| if name.eq_ignore_ascii_case("post") { Method::POST } else { Method::GET })
}

fn text(element: ElementRef<'_>) -> String {
    element.text().flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

fn selector(css: &str) -> Selector {
    Selector::parse(css).unwrap()
}
