//! Where signatures of XML documents are verified: bounded in number and time, with libxmlsec1 in its
//! [cage](crate::crypto::cage).
//!
//! A cage is a child process that waits for documents. One that dies, or does not answer in time, is killed and replaced;
//! the document that did it is refused. Where no child can be started the library runs in a thread of ours, and says so.

use crate::crypto::{
    Refusal,
    cage::{self, Caged},
    refusal,
    xmldsig::{Xmlsec, xmlsec},
};
use std::{
    io::{self, BufReader, BufWriter},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

/// How long one document may be worked on, in seconds.
const DEADLINE_SECONDS: u64 = 5;

/// How far the C library is caged, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// No document came yet.
    Untried,
    /// A child process without network, files and other system calls.
    Caged,
    /// A child process on a kernel without seccomp.
    Process,
    /// A thread of the broker: no child could be started.
    Thread,
}

/// The verifier.
#[derive(Debug)]
pub(super) struct Verifier {
    /// The program that runs a cage, called with `xml-verifier`; none where tests run the library in a thread.
    program: Option<PathBuf>,
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<Cage>>,
    isolation: AtomicU8,
}

/// A child, and the pipes to it.
#[derive(Debug)]
struct Cage {
    process: Arc<Mutex<Child>>,
    input: BufWriter<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Drop for Cage {
    fn drop(&mut self) {
        end(&self.process);
    }
}

/// Kills a child and takes its status, so that nothing of it stays.
fn end(process: &Mutex<Child>) {
    let mut process = process.lock().unwrap_or_else(PoisonError::into_inner);
    // It may be gone already.
    let _ = process.kill();
    let _ = process.wait();
}

impl Verifier {
    pub(super) fn new(program: Option<PathBuf>, turns: usize) -> Self {
        Self { program, turns: Arc::new(Semaphore::new(turns)), idle: Mutex::default(), isolation: AtomicU8::new(0) }
    }

    pub(super) fn isolation(&self) -> Isolation {
        match self.isolation.load(Ordering::Relaxed) {
            0 => Isolation::Untried,
            1 => Isolation::Caged,
            2 => Isolation::Process,
            _ => Isolation::Thread,
        }
    }

    /// Says how far the library is caged; in the log once.
    fn isolated(&self, state: Isolation, why: &str) {
        let number = match state {
            Isolation::Untried => 0,
            Isolation::Caged => 1,
            Isolation::Process => 2,
            Isolation::Thread => 3,
        };
        if self.isolation.swap(number, Ordering::Relaxed) != number && state != Isolation::Caged {
            tracing::warn!(?state, why, "the XML library is not caged as it should be");
        }
    }

    /// Runs a verification on a thread of its own. `work` is handed the way to ask libxmlsec1.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(Xmlsec<'_>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let busy = || refusal("verifier_busy", "the verification did not finish in time");
        let running: Arc<Mutex<Option<Arc<Mutex<Child>>>>> = Arc::default();
        let task = async {
            let turn = self.turns.clone().acquire_owned().await.map_err(|_| busy())?;
            let (verifier, running) = (self.clone(), running.clone());
            let work = move || {
                // The turn goes with the work: a document that outlives its deadline still counts against the bound.
                let _turn = turn;
                work(&mut |xml, certificates| verifier.ask(xml, certificates, &running))
            };
            let crashed = |_| refusal("verifier_crashed", "the verification ended abnormally");
            tokio::task::spawn_blocking(work).await.map_err(crashed)?
        };
        let outcome = tokio::time::timeout(Duration::from_secs(DEADLINE_SECONDS), task).await;
        outcome.unwrap_or_else(|_| {
            if let Some(process) = running.lock().unwrap_or_else(PoisonError::into_inner).take() {
                end(&process);
            }
            Err(busy())
        })
    }

    fn ask(&self, xml: &str, certificates: &[Vec<u8>], running: &Mutex<Option<Arc<Mutex<Child>>>>) -> Result<String, Refusal> {
        let Some(mut cage) = self.cage() else { return xmlsec::octets(xml, certificates) };
        *running.lock().unwrap_or_else(PoisonError::into_inner) = Some(cage.process.clone());
        let answer = cage::ask(&mut cage.input, &mut cage.output, xml, certificates);
        *running.lock().unwrap_or_else(PoisonError::into_inner) = None;
        match answer {
            Ok(octets) => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(cage);
                octets.ok_or_else(|| refusal(xmlsec::REFUSED, "libxmlsec1 does not accept the signature"))
            }
            Err(error) => Err(refusal("verifier_crashed", format!("the caged verifier ended: {error}"))),
        }
    }

    /// A cage that waits, or a new one. None: the library must run here.
    fn cage(&self) -> Option<Cage> {
        if let Some(waiting) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Some(waiting);
        }
        let program = self.program.as_ref()?;
        match start(program) {
            Ok((cage, Caged::Fully)) => {
                self.isolated(Isolation::Caged, "");
                Some(cage)
            }
            Ok((cage, Caged::Partly)) => {
                self.isolated(Isolation::Process, "the kernel has no seccomp");
                Some(cage)
            }
            Err(error) => {
                self.isolated(Isolation::Thread, &error.to_string());
                None
            }
        }
    }
}

fn start(program: &PathBuf) -> io::Result<(Cage, Caged)> {
    let mut process = Command::new(program)
        .arg("xml-verifier")
        .env_clear()
        .env(cage::ALLOCATOR.0, cage::ALLOCATOR.1)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // The library writes what it thinks of a document there.
        .stderr(Stdio::null())
        .spawn()?;
    let pipes = process.stdin.take().zip(process.stdout.take());
    let process = Arc::new(Mutex::new(process));
    let Some((input, output)) = pipes else {
        end(&process);
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let mut cage = Cage { process, input: BufWriter::new(input), output: BufReader::new(output) };
    let caged = Caged::read(&mut cage.output)?;
    Ok((cage, caged))
}
