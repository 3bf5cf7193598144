//! The handle a test holds: it starts and stops the server, prepares its misbehaviour, and reads its books.

use std::{
    io,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

use tokio::{net::TcpSocket, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    authority::{Authority, GrantId, Issued},
    connection::{Door, Link},
    fault::Fault,
    ledger::{GrantRecord, Ledger, Why},
    options::{Account, SandboxOptions},
    server::Shared,
};

/// How many connections may wait to be accepted: load tests come in bursts.
const BACKLOG: u32 = 4096;

/// A running sandbox; dropped, it stops, and its connections end.
pub struct Sandbox {
    /// Where it is reached, without a slash at the end; also its issuer.
    pub base_url: String,
    pub address: SocketAddr,
    shared: Shared,
    running: Mutex<Option<Running>>,
}

struct Running {
    open: CancellationToken,
    task: JoinHandle<()>,
}

impl Sandbox {
    /// Starts a sandbox inside the current tokio runtime.
    ///
    /// # Panics
    /// When the address is taken; see [`Sandbox::try_start`].
    pub fn start(options: SandboxOptions) -> Self {
        Self::try_start(options).expect("the sandbox's address is free")
    }

    pub fn try_start(options: SandboxOptions) -> io::Result<Self> {
        let (door, address) = bind(options.listen)?;
        let base_url = options.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
        let base_url = base_url.trim_end_matches('/').to_owned();
        let shared = Shared::new(Authority::new(options, base_url.clone()));
        let running = Mutex::new(Some(run(door, &shared)));
        Ok(Self { base_url, address, shared, running })
    }

    /// Stops listening and ends every connection, as in an outage; what was granted is remembered.
    pub async fn go_offline(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { open, task }) = running {
            open.cancel();
            let _ = task.await;
        }
    }

    /// Listens again, at the same address.
    pub fn go_online(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() {
            let (door, _) = bind(self.address).expect("the sandbox's address is still free");
            *running = Some(run(door, &self.shared));
        }
    }

    /// Changes how the sandbox behaves from now on: another rotation, another secret, another consent.
    pub fn reconfigure(&self, change: impl FnOnce(&mut SandboxOptions)) {
        change(&mut self.shared.authority().options);
    }

    /// Lays out a fault for a request to come. Several wait in a queue, each for its own kind of request.
    pub fn fault(&self, fault: Fault) {
        self.shared.authority().faults.push(fault);
    }

    pub fn clear_faults(&self) {
        self.shared.authority().faults.clear();
    }

    /// How many strikes of faults are still to come.
    pub fn pending_faults(&self) -> u32 {
        self.shared.authority().faults.pending()
    }

    /// Puts the provider's clock forward: tokens expire, windows close.
    pub fn advance(&self, seconds: u32) {
        self.shared.authority().advance(seconds);
    }

    /// A copy of the books. It walks through every grant; for one of many see [`Sandbox::grant`].
    pub fn ledger(&self) -> Ledger {
        self.shared.authority().ledger()
    }

    /// How many refreshes the books hold, without a copy of them.
    pub fn refreshes(&self) -> usize {
        let authority = self.shared.authority();
        authority.book.entries().filter(|entry| entry.grant_type.as_deref() == Some("refresh_token")).count()
    }

    /// Forgets the entries so far, and keeps the grants.
    pub fn clear_entries(&self) {
        self.shared.authority().book.clear();
    }

    /// A grant without a browser: its first tokens, for the account with this id.
    pub fn seed(&self, account: &str, scope: &str) -> (GrantId, Issued) {
        let mut authority = self.shared.authority();
        let account = authority.account(account).expect("one of the sandbox's accounts").clone();
        seeded(&mut authority, account, scope)
    }

    /// The same for an account of the test's own.
    pub fn seed_for(&self, account: Account, scope: &str) -> (GrantId, Issued) {
        seeded(&mut self.shared.authority(), account, scope)
    }

    pub fn grant(&self, grant: GrantId) -> Option<GrantRecord> {
        self.shared.authority().record(grant)
    }

    /// The grant that a token, alive or rotated, belongs to.
    pub fn grant_of(&self, token: &str) -> Option<GrantId> {
        self.shared.authority().grant_of(token)
    }

    /// Whether a refresh token would be taken as one that was never used.
    pub fn is_good(&self, refresh_token: &str) -> bool {
        self.shared.authority().refresh_token_is_good(refresh_token)
    }

    /// The newest refresh token of a grant, in clear, while it is good.
    pub fn current_refresh_token(&self, grant: GrantId) -> Option<String> {
        self.shared.authority().current_refresh_token(grant).map(str::to_owned)
    }

    /// The newest access token of a grant, in clear, while it is good.
    pub fn current_access_token(&self, grant: GrantId) -> Option<String> {
        self.shared.authority().current_access_token(grant).map(str::to_owned)
    }

    /// Ends a grant, as when an administrator removes the app from the workspace.
    pub fn end_grant(&self, grant: GrantId) {
        self.shared.authority().end(grant, Why::Revoked);
    }

    /// Kills a grant's access tokens, and leaves its refresh token alone.
    pub fn revoke_access_tokens(&self, grant: GrantId) {
        self.shared.authority().revoke_access_tokens(grant);
    }

    /// The texts posted so far, the oldest first.
    pub fn messages(&self) -> Vec<String> {
        let authority = self.shared.authority();
        authority.messages.iter().filter_map(|message| message["text"].as_str()).map(str::to_owned).collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Some(running) = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            running.open.cancel();
        }
    }
}

fn seeded(authority: &mut Authority, account: Account, scope: &str) -> (GrantId, Issued) {
    let client = authority.options.client_id.clone();
    let grant = authority.grant(&client, account, scope.to_owned());
    (grant, authority.issue(grant, scope.to_owned()))
}

fn bind(address: SocketAddr) -> io::Result<(Door, SocketAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    Ok((Door { listener, open: CancellationToken::new() }, address))
}

fn run(door: Door, shared: &Shared) -> Running {
    let open = door.open.clone();
    let closed = open.clone().cancelled_owned();
    let service = shared.clone().router().into_make_service_with_connect_info::<Link>();
    let task = tokio::spawn(async move {
        tokio::select! {
            () = closed => {}
            _ = axum::serve(door, service) => {}
        }
    });
    Running { open, task }
}
