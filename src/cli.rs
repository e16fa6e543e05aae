//! The command line: names, order and help of every command, and which function each one is.
//!
//! The options of a client's command stand with its verb in `console`; those of the daemon stand here, as plain settings
//! that its configuration takes before the environment and the file.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

pub use crate::console::doctor::Configured;
use crate::console::{self, Client, Failure, Remote};

/// Runs programs in isolated sandboxes on a bare Linux host
#[derive(Debug, Parser)]
#[command(name = "bivouac", version, max_term_width = 100, propagate_version = false)]
#[command(after_help = "Start with:\n  bivouac serve &\n  bivouac run bivouac/base -- echo hello")]
pub struct Cli {
    #[command(flatten)]
    pub remote: Remote,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon
    #[command(
        after_help = "Example:\n  bivouac serve --listen unix:/run/bivouac/bivouac.sock --listen tcp:127.0.0.1:8080 \
                            --api-key-file /etc/bivouac/keys"
    )]
    Serve(Serve),

    /// Show what this kernel and host can do: each feature, its fallback, what is lost without it
    #[command(after_help = "Examples:\n  bivouac doctor --json | jq '.[] | select(.found | not)'\n  \
                            bivouac doctor --verify-images")]
    Doctor(console::doctor::Doctor),

    /// Work with images
    #[command(subcommand)]
    Image(Image),

    /// Create a sandbox and print its id
    #[command(
        after_help = "Example:\n  bivouac create bivouac/base --name web --memory 512Mi --timeout 30m -- httpd -f"
    )]
    Create(console::create::Create),

    /// Run a program in a new sandbox, show its output, and exit with its code
    #[command(after_help = "Examples:\n  bivouac run bivouac/base --rm -- sh -c 'echo hello; exit 3'\n  \
                            bivouac run -it --rm bivouac/base -- sh\n\n\
                            Exit code: the program's; 128+N when signal N ended it; 125 an error of bivouac; \
                            126 the program cannot be executed; 127 it was not found.")]
    Run(console::run::Run),

    /// Run a program in a sandbox that is there, and exit with its code
    #[command(after_help = "Examples:\n  bivouac exec web -- ls -l /\n  bivouac exec -it web -- sh\n  \
                            tar c . | bivouac exec -i web -w /tmp -- tar x\n\n\
                            Exit code: as that of run.")]
    Exec(console::exec::Exec),

    /// Take part in the program of a sandbox, and exit with its code
    #[command(after_help = "Example:\n  bivouac attach web\n\n\
                            What it has written comes first, as far as it is kept. Input reaches a program that was \
                            started with run -i or -t; with a terminal, Ctrl-P Ctrl-Q detaches and leaves it running.")]
    Attach(console::attach::Attach),

    /// List the sandboxes
    #[command(visible_alias = "ls")]
    #[command(after_help = "Example:\n  bivouac list --state Running --metadata team=build")]
    List(console::list::List),

    /// Show one sandbox
    #[command(after_help = "Example:\n  bivouac get web --json | jq .status")]
    Get(console::get::Get),

    /// Stop every process of a sandbox where it stands; its memory stays
    #[command(after_help = "Example:\n  bivouac pause web")]
    Pause(console::pause::Pause),

    /// Let a paused sandbox go on
    #[command(after_help = "Example:\n  bivouac resume web")]
    Resume(console::resume::Resume),

    /// Give a sandbox more time, counted from now, and print the new end
    #[command(after_help = "Example:\n  bivouac renew web --for 30m")]
    Renew(console::renew::Renew),

    /// End sandboxes and remove them
    #[command(after_help = "Example:\n  bivouac rm web 0b5e5d")]
    Rm(console::rm::Remove),

    /// Show what a sandbox's program wrote
    #[command(after_help = "Example:\n  bivouac logs web --tail 20 -f")]
    Logs(console::logs::Logs),

    /// Copy files between the host and a sandbox
    #[command(after_help = "Examples:\n  bivouac cp ./site web:/var/www\n  bivouac cp web:/var/log/app.log .\n  \
                            bivouac cp ./site/. web:/var/www\n  tar c . | bivouac cp - web:/srv\n  \
                            bivouac cp web:/var/log - | tar t\n\n\
                            As with docker cp: a directory goes into one that is there, and what is in it alone when SRC \
                            ends with /. ; modes are kept and links stay links. Inside, it is done as the user of the \
                            sandbox. What cannot be copied is told and passed over, and the exit code is 1.")]
    Cp(console::cp::Copy),

    /// Show what sandboxes use: CPU, memory, processes, disk
    #[command(after_help = "Example:\n  bivouac stats web -f")]
    Stats(console::stats::Stats),

    /// Print the completion script of a shell
    #[command(after_help = "Example:\n  bivouac completions bash > /usr/share/bash-completion/completions/bivouac")]
    Completions { shell: Shell },
}

#[derive(Debug, Subcommand)]
pub enum Image {
    /// Take an image from disk or standard input
    #[command(after_help = "Examples:\n  bivouac image import ./layout --name debian:13\n  \
                            docker save alpine | bivouac image import -\n  \
                            tar -C root --numeric-owner -c . | bivouac image import - --name mine")]
    Import(console::image::import::Import),

    /// Write an image as an OCI layout or archive, for skopeo, umoci, podman and others
    #[command(after_help = "Examples:\n  bivouac image export debian:13 ./layout\n  \
                            bivouac image export debian:13 debian.tar && skopeo copy oci-archive:debian.tar \
                            docker://registry.example/debian:13\n\n\
                            Layers are packed again from what was unpacked, so digests are new; devices, history, volumes and \
                            ports of the original do not come back.")]
    Export(console::image::export::Export),

    /// Fetch an image from its registry
    #[command(
        after_help = "Examples:\n  bivouac image pull python:3.11\n  bivouac image pull localhost:5000/team/app:1"
    )]
    Pull(console::image::pull::Pull),

    /// List the images
    #[command(visible_alias = "ls", after_help = "Example:\n  bivouac image list --json | jq -r '.[].name'")]
    List(console::image::list::List),

    /// Show everything about an image, as JSON
    #[command(after_help = "Example:\n  bivouac image inspect bivouac/base")]
    Inspect(console::image::inspect::Inspect),

    /// Remove the images that nobody has used for a while
    #[command(after_help = "Example:\n  bivouac image prune --unused-for 7d")]
    Prune(console::image::prune::Prune),

    /// Remove an image that no sandbox uses
    #[command(after_help = "Example:\n  bivouac image rm debian:13")]
    Rm(console::image::rm::Remove),
}

/// Options of the daemon. Each has a key in the configuration file and a variable `BIVOUAC_...`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Where to listen: unix:/path or tcp:ADDRESS:PORT; may be given more than once [default: the socket in the run
    /// directory]
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<String>,

    /// Where images, records and sandboxes are kept [default: /var/lib/bivouac]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<String>,

    /// Where sockets are [default: /run/bivouac]
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<String>,

    /// Configuration file [default: /etc/bivouac/config.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Listen on TCP although there is no key: whoever can connect is root on this host
    #[arg(long)]
    pub insecure_no_auth: bool,

    /// How the log on standard error is written: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// Least severe messages to log: error, warn, info, debug or trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

impl Serve {
    /// The flags that were given, by the keys of the configuration file. `--api-key-file` is one flag for both sides.
    #[must_use]
    pub fn settings(&self, remote: &Remote) -> Vec<(&'static str, Vec<String>)> {
        let one = |text: &Option<String>| text.iter().cloned().collect::<Vec<_>>();
        let key_file = remote.api_key_file.as_ref().map(|path| path.display().to_string());
        let all = [
            ("server.listen", self.listen.clone()),
            ("server.state_dir", one(&self.state_dir)),
            ("server.run_dir", one(&self.run_dir)),
            ("server.api_key_file", one(&key_file)),
            ("server.insecure_no_auth", self.insecure_no_auth.then(|| "true".to_owned()).into_iter().collect()),
            ("server.log_format", one(&self.log_format)),
            ("server.log_level", one(&self.log_level)),
        ];
        all.into_iter().filter(|(_, values)| !values.is_empty()).collect()
    }
}

/// Prints the completion script for `shell`.
///
/// # Errors
/// When standard output cannot be written.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bivouac", &mut script);
    Ok(io::Write::write_all(&mut io::stdout(), &script)?)
}

/// Carries a client's command out, tells what failed, and returns the exit code. `configured` tells what a daemon with this
/// configuration file has.
#[must_use]
pub fn perform(cli: &Cli, configured: impl FnOnce(Option<&Path>) -> Configured) -> u8 {
    let done = match &cli.command {
        Command::Doctor(args) if !args.verify_images => console::doctor::doctor(args, configured),
        Command::Completions { shell } => completions(*shell).map(|()| 0),
        command => ask_daemon(&cli.remote, command),
    };
    done.unwrap_or_else(|failure| {
        if !failure.is_closed_pipe() {
            console::complain(&failure);
        }
        // `run` answers with the codes of its program, among which 1 is common.
        if matches!(cli.command, Command::Run(_) | Command::Exec(_) | Command::Attach(_)) {
            console::run::OUR_ERROR
        } else {
            1
        }
    })
}

fn ask_daemon(remote: &Remote, command: &Command) -> Result<u8, Failure> {
    let client = remote.client()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(ask(&client, command));
    // A thread may still wait for standard input that nobody needs any more.
    runtime.shutdown_background();
    done
}

async fn ask(client: &Client, command: &Command) -> Result<u8, Failure> {
    let done = match command {
        Command::Run(args) => return console::run::run(client, args).await,
        Command::Exec(args) => return console::exec::exec(client, args).await,
        Command::Doctor(args) => return console::doctor::verify_images(client, args).await,
        Command::Attach(args) => return console::attach::attach(client, args).await,
        Command::Cp(args) => return console::cp::copy(client, args).await,
        Command::Create(args) => console::create::create(client, args).await,
        Command::List(args) => console::list::list(client, args).await,
        Command::Get(args) => console::get::get(client, args).await,
        Command::Pause(args) => console::pause::pause(client, args).await,
        Command::Resume(args) => console::resume::resume(client, args).await,
        Command::Renew(args) => console::renew::renew(client, args).await,
        Command::Rm(args) => console::rm::remove(client, args).await,
        Command::Logs(args) => console::logs::logs(client, args).await,
        Command::Stats(args) => console::stats::stats(client, args).await,
        Command::Image(Image::Import(args)) => console::image::import::import(client, args).await,
        Command::Image(Image::Export(args)) => console::image::export::export(client, args).await,
        Command::Image(Image::Pull(args)) => console::image::pull::pull(client, args).await,
        Command::Image(Image::List(args)) => console::image::list::list(client, args).await,
        Command::Image(Image::Inspect(args)) => console::image::inspect::inspect(client, args).await,
        Command::Image(Image::Prune(args)) => console::image::prune::prune(client, args).await,
        Command::Image(Image::Rm(args)) => console::image::rm::remove(client, args).await,
        // These need no daemon: `perform` and the program itself have carried them out.
        Command::Serve(_) | Command::Completions { .. } => Ok(()),
    };
    done.map(|()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn documented_lines_parse() {
        for line in [
            "bivouac serve --listen unix:/a --listen tcp:127.0.0.1:1 --state-dir /s --run-dir /r --config /c --api-key-file /k",
            "bivouac serve --insecure-no-auth --log-format json --log-level debug",
            "bivouac doctor --json",
            "bivouac doctor --state-dir /s --config /c",
            "bivouac doctor --verify-images --json",
            "bivouac image import layout --name a:1",
            "bivouac image import -",
            "bivouac image export a:1 layout",
            "bivouac image export a:1 -",
            "bivouac image list --json",
            "bivouac image inspect a:1",
            "bivouac image rm a:1",
            "bivouac create a --name n --env K=V --env L=W --cpu 500m --memory 512Mi --timeout 30m --metadata K=V -- sh -c ls",
            "bivouac run a --rm --timeout none -- sh",
            "bivouac run -it --rm -w /tmp a -- sh",
            "bivouac exec a -- ls -l",
            "bivouac exec -it -e K=V -w /tmp -u 1:2 a -- sh -c ls",
            "bivouac --host unix:/a list --json",
            "bivouac list --host tcp:127.0.0.1:80",
            "bivouac get a --json",
            "bivouac pause a",
            "bivouac resume a",
            "bivouac renew a --for 30m",
            "bivouac rm a b",
            "bivouac logs a -f --tail 3",
            "bivouac cp ./a a:/b",
            "bivouac cp a:/b ./a:b",
            "bivouac stats",
            "bivouac stats a -f --json",
            "bivouac completions bash",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_a_usage_error() {
        for line in [
            "bivouac",
            "bivouac rm",
            "bivouac exec a",
            "bivouac exec a ls",
            "bivouac renew a",
            "bivouac create a --timeout 5",
            "bivouac list --host /a",
            "bivouac cp a",
            "bivouac cp a: b",
        ] {
            assert_eq!(parse(line).map(|_| ()).expect_err(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn the_flags_of_the_daemon_become_settings() {
        let cli = parse("bivouac serve --listen unix:/a --api-key-file /k --insecure-no-auth").expect("parses");
        let Command::Serve(serve) = &cli.command else { panic!("not serve") };
        let settings = serve.settings(&cli.remote);
        let keys: Vec<_> = settings.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["server.listen", "server.api_key_file", "server.insecure_no_auth"]);
    }
}
