//! Debian's `docker-registry` on a loopback port, filled by `skopeo copy`.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::run::run;
use super::wait::until;

pub struct Registry {
    pub dir: TempDir,
    pub port: u16,
    tls: bool,
    login: Option<(&'static str, &'static str)>,
    child: Child,
}

impl Registry {
    pub fn plain() -> Self {
        Self::start(false, None)
    }

    /// With a certificate of an authority of its own, in `ca.pem` of its directory.
    pub fn with_tls() -> Self {
        Self::start(true, None)
    }

    pub fn with_login(name: &'static str, password: &'static str) -> Self {
        Self::start(true, Some((name, password)))
    }

    fn start(tls: bool, login: Option<(&'static str, &'static str)>) -> Self {
        let dir = TempDir::new().unwrap();
        if tls {
            certify(dir.path());
        }
        if let Some((name, password)) = login {
            run("htpasswd", &["-Bbc", "htpasswd", name, password], dir.path());
        }
        // Another may take the port before the registry does; then there is another try.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            fs::write(dir.path().join("config.yml"), config(port, tls, login.is_some())).unwrap();
            let mut child = Command::new("docker-registry")
                .args(["serve", "config.yml"])
                .current_dir(dir.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("docker-registry; scripts/test installs it");
            if listens(port, &mut child) {
                return Self { dir, port, tls, login, child };
            }
        }
        panic!("docker-registry does not start");
    }

    /// Stops it where it stands, or lets it go on: it takes connections and does not answer.
    pub fn pause(&self, stop: bool) {
        let signal = if stop { nix::sys::signal::Signal::SIGSTOP } else { nix::sys::signal::Signal::SIGCONT };
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// `localhost:port/name`
    pub fn name(&self, name: &str) -> String {
        format!("localhost:{}/{name}", self.port)
    }

    /// Copies a layout into it.
    pub fn push(&self, layout: &Path, name: &str, options: &[&str]) {
        let mut args = vec!["copy", "--quiet"];
        if self.tls {
            args.extend(["--dest-cert-dir", "certs"]);
        } else {
            args.push("--dest-tls-verify=false");
        }
        let login = self.login.map(|(name, password)| format!("{name}:{password}"));
        if let Some(login) = &login {
            args.extend(["--dest-creds", login]);
        }
        args.extend(options);
        let (from, to) = (format!("oci:{}", layout.display()), format!("docker://{}", self.name(name)));
        args.extend([from.as_str(), to.as_str()]);
        run("skopeo", &args, self.dir.path());
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Whether it takes connections; `false` once it has ended.
fn listens(port: u16, child: &mut Child) -> bool {
    let listening = || match (TcpStream::connect(("127.0.0.1", port)), child.try_wait().unwrap()) {
        (Ok(_), _) => Ok(true),
        (Err(_), Some(_)) => Ok(false),
        (Err(error), None) => Err(error.to_string()),
    };
    until("listening", listening)
}

fn config(port: u16, tls: bool, login: bool) -> String {
    let mut text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: ./data}}}}\nhttp:\n  addr: 127.0.0.1:{port}\n"
    );
    if tls {
        text.push_str("  tls: {certificate: server.pem, key: server.key}\n");
    }
    if login {
        text.push_str("auth:\n  htpasswd: {realm: tests, path: htpasswd}\n");
    }
    text
}

/// An authority and a certificate of localhost that it signed; skopeo looks into `certs`.
fn certify(dir: &Path) {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let ca = ["req", "-x509", "-subj", "/CN=Tests", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"];
    run("openssl", &[&ca[..], &key[..]].concat(), dir);
    let request = ["req", "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"];
    run("openssl", &[&request[..], &key[..]].concat(), dir);
    fs::write(dir.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    let sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"];
    run("openssl", &[&sign[..], &["-days", "2", "-extfile", "names", "-out", "server.pem"]].concat(), dir);
    fs::create_dir(dir.join("certs")).unwrap();
    fs::copy(dir.join("ca.pem"), dir.join("certs/ca.crt")).unwrap();
}
