//! The way in from outside: nginx with TLS, with the host and the paths of the Ingress that the chart made, and no others.

use std::fmt::Write as _;
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use kube::Api;
use kube::api::ListParams;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PublicKeyData as _};

use crate::cluster::install;
use crate::shell::{command, find, output};

/// The name under which browsers reach the operator; resolved by each of them, as by nobody else.
pub(crate) const HOST: &str = "connect.e2e.test";

/// Where the edge will be, before it is there: the operator has to know its public address.
pub(crate) struct Plan {
    pub(crate) port: u16,
    /// The certificate authority, PEM.
    pub(crate) authority: String,
    certificate: String,
    key: String,
    /// Hash of the certificate's key, as Chromium wants it.
    pub(crate) key_hash: String,
}

impl Plan {
    /// A free port and a certificate.
    pub(crate) fn new() -> Result<Self> {
        // Below those that the system hands out, so that nobody gets it in the meantime.
        let port = (18_443..19_443).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        let port = port.context("no free port for the edge")?;
        let mut parameters = CertificateParams::new(vec![])?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec![HOST.to_owned()])?.signed_by(&key, &authority)?;
        let hash = ring::digest::digest(&ring::digest::SHA256, &key.subject_public_key_info());
        Ok(Self {
            port,
            authority: authority.pem(),
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            key_hash: STANDARD.encode(hash),
        })
    }

    /// The operator's public address.
    pub(crate) fn public_url(&self) -> String {
        format!("https://{HOST}:{}", self.port)
    }

    /// A client that reaches the edge by its name and trusts its authority; redirects are the caller's.
    pub(crate) fn client(&self) -> Result<reqwest::Client> {
        Ok(reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .resolve(HOST, ([127, 0, 0, 1], self.port).into())
            .tls_certs_merge([reqwest::Certificate::from_pem(self.authority.as_bytes())?])
            .timeout(std::time::Duration::from_secs(30))
            .build()?)
    }
}

/// A running nginx: one process, which is killed when this is dropped.
pub(crate) struct Edge {
    _process: tokio::process::Child,
    /// The locations that it has.
    pub(crate) paths: Vec<String>,
}

impl Edge {
    /// Starts nginx with the rules of the Ingress in `namespace`.
    pub(crate) async fn start(
        client: &kube::Client,
        namespace: &str,
        node: IpAddr,
        plan: &Plan,
        directory: &Path,
    ) -> Result<Self> {
        if find("nginx").is_none() {
            install(&["nginx-light"]).await?;
        }
        std::fs::create_dir_all(directory)?;
        let (paths, locations) = locations(client, namespace, node).await?;
        let configuration = write(directory, plan, &locations)?;
        let nginx = find("nginx").context("no nginx")?;
        let arguments = ["-p", directory.to_str().unwrap_or("."), "-c", configuration.to_str().unwrap_or_default()];
        output(command(&nginx).args(arguments).arg("-t")).await?;
        let process = command(&nginx).args(arguments).stderr(std::process::Stdio::null()).spawn()?;
        Ok(Self { _process: process, paths })
    }
}

/// The rules of all Ingresses of a namespace as locations of nginx.
async fn locations(client: &kube::Client, namespace: &str, node: IpAddr) -> Result<(Vec<String>, String)> {
    let ingresses: Api<Ingress> = Api::namespaced(client.clone(), namespace);
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let (mut paths, mut text) = (vec![], String::new());
    for ingress in ingresses.list(&ListParams::default()).await? {
        let rules = ingress.spec.and_then(|spec| spec.rules).unwrap_or_default();
        for rule in rules.into_iter().filter(|rule| rule.host.as_deref() == Some(HOST)) {
            for path in rule.http.map(|http| http.paths).unwrap_or_default() {
                let backend = path.backend.service.context("a rule of the Ingress without a Service")?;
                let service = services.get(&backend.name).await?;
                let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
                let wanted = backend.port.context("a rule without a port")?;
                let port = ports
                    .into_iter()
                    .find(|port| port.name == wanted.name || Some(port.port) == wanted.number)
                    .and_then(|port| port.node_port)
                    .context("the Service has no port on the node")?;
                let at = path.path.unwrap_or_else(|| "/".to_owned());
                let exact = if path.path_type == "Exact" { "= " } else { "" };
                let _ = write!(
                    text,
                    "location {exact}{at} {{ proxy_pass http://{node}:{port}; proxy_set_header Host $http_host; \
                     proxy_set_header X-Forwarded-For $remote_addr; proxy_next_upstream off; }}\n    "
                );
                paths.push(format!("{at} ({})", path.path_type));
            }
        }
    }
    Ok((paths, text))
}

fn write(directory: &Path, plan: &Plan, locations: &str) -> Result<PathBuf> {
    let path = |name: &str| directory.join(name);
    std::fs::write(path("certificate.pem"), &plan.certificate)?;
    std::fs::write(path("key.pem"), &plan.key)?;
    let folder = directory.display();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n\
         events {{ worker_connections 2048; }}\n\
         http {{\n  access_log {folder}/access.log;\n  client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n  \
         fastcgi_temp_path {folder}/f;\n  uwsgi_temp_path {folder}/u;\n  scgi_temp_path {folder}/s;\n  server {{\n    \
         listen 127.0.0.1:{port} ssl;\n    server_name {HOST};\n    ssl_certificate {folder}/certificate.pem;\n    \
         ssl_certificate_key {folder}/key.pem;\n    {locations}location / {{ return 404 'no such path at the edge\\n'; }}\n  }}\n}}\n",
        port = plan.port,
    );
    let configuration = path("nginx.conf");
    std::fs::write(&configuration, text)?;
    Ok(configuration)
}
