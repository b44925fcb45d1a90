//! Where signatures of XML documents are verified: bounded in number and time, with libxmlsec1 in its
//! [cage](crate::crypto::cage).
//!
//! A cage is a child process that waits for documents. One that dies, or does not answer in time, is killed and replaced;
//! the document that did it is refused. Where there is no program to run in one the library runs in a thread of ours, and says
//! so; where one can't be started just now, the document is refused.

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
    sync::{Arc, Mutex, PoisonError},
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
    isolation: Mutex<Isolation>,
}

/// A child, and the pipes to it.
#[derive(Debug)]
struct Cage {
    process: Arc<Mutex<Child>>,
    input: BufWriter<ChildStdin>,
    output: BufReader<ChildStdout>,
    /// How many it was asked about.
    documents: u32,
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
        Self {
            program,
            turns: Arc::new(Semaphore::new(turns)),
            idle: Mutex::default(),
            isolation: Mutex::new(Isolation::Untried),
        }
    }

    pub(super) fn isolation(&self) -> Isolation {
        *self.isolation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how far the library is caged; in the log once.
    fn isolated(&self, state: Isolation, why: &str) {
        let before = std::mem::replace(&mut *self.isolation.lock().unwrap_or_else(PoisonError::into_inner), state);
        if before != state && state != Isolation::Caged {
            tracing::warn!(?state, why, "the XML library is not caged as it should be");
        }
    }

    /// Runs a verification on a thread of its own. `work` is handed the way to ask libxmlsec1.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(Xmlsec<'_>) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let running = Arc::new(Running::default());
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
            running.expire();
            Err(busy())
        })
    }

    fn ask(&self, xml: &str, certificates: &[Vec<u8>], running: &Running) -> Result<String, Refusal> {
        let waiting = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(cage) = waiting {
            running.begin(&cage.process)?;
            // One that died while it waited is not this document's doing: another is asked.
            if let Ok(answer) = self.ask_cage(cage, xml, certificates, running) {
                return answer;
            }
        }
        let Some(cage) = self.fresh(running)? else { return xmlsec::octets(xml, certificates) };
        let answer = self.ask_cage(cage, xml, certificates, running);
        answer.unwrap_or_else(|error| Err(refusal("verifier_crashed", format!("the caged verifier ended: {error}"))))
    }

    /// Asks a cage that was begun. The outer error: it is gone, and not because its time was up.
    fn ask_cage(
        &self,
        mut cage: Cage,
        xml: &str,
        certificates: &[Vec<u8>],
        running: &Running,
    ) -> io::Result<Result<String, Refusal>> {
        let answer = cage::ask(&mut cage.input, &mut cage.output, xml, certificates);
        if !running.end() {
            return Ok(Err(busy()));
        }
        let octets = answer?;
        cage.documents += 1;
        if cage.documents < cage::MAX_DOCUMENTS {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(cage);
        }
        Ok(octets.ok_or_else(|| refusal(xmlsec::REFUSED, "libxmlsec1 does not accept the signature")))
    }

    /// A new cage. None: there is no program to run in one, so the library must run here.
    fn fresh(&self, running: &Running) -> Result<Option<Cage>, Refusal> {
        let Some(program) = &self.program else {
            self.isolated(Isolation::Thread, "there is no program to run it in");
            return Ok(None);
        };
        let started = start(program).and_then(|mut cage| {
            // Before it says a word: one that hangs at its start is ended by the deadline, too.
            running.begin(&cage.process).map_err(io::Error::other)?;
            let caged = Caged::read(&mut cage.output)?;
            Ok((cage, caged))
        });
        match started {
            Ok((cage, Caged::Fully)) => {
                self.isolated(Isolation::Caged, "");
                Ok(Some(cage))
            }
            Ok((cage, Caged::Partly)) => {
                self.isolated(Isolation::Process, "the kernel has no seccomp");
                Ok(Some(cage))
            }
            // It can't be run here at all, and never could.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                self.isolated(Isolation::Thread, &error.to_string());
                Ok(None)
            }
            // Out of processes or files, say: nobody gets to choose that moment for the library to run here.
            Err(error) => {
                running.end();
                Err(refusal("verifier_unavailable", format!("no caged verifier could be started: {error}")))
            }
        }
    }
}

fn busy() -> Refusal {
    refusal("verifier_busy", "the verification did not finish in time")
}

/// The child that a verification waits for, and whether its time is up.
#[derive(Debug, Default)]
struct Running(Mutex<(bool, Option<Arc<Mutex<Child>>>)>);

impl Running {
    fn state(&self) -> std::sync::MutexGuard<'_, (bool, Option<Arc<Mutex<Child>>>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Names the child that is waited for from now on.
    fn begin(&self, process: &Arc<Mutex<Child>>) -> Result<(), Refusal> {
        let mut state = self.state();
        if state.0 {
            return Err(busy());
        }
        state.1 = Some(process.clone());
        Ok(())
    }
    /// Whether the child is still ours: the deadline has not taken it.
    fn end(&self) -> bool {
        self.state().1.take().is_some()
    }
    /// The time is up.
    fn expire(&self) {
        let mut state = self.state();
        state.0 = true;
        if let Some(process) = state.1.take() {
            end(&process);
        }
    }
}

fn start(program: &PathBuf) -> io::Result<Cage> {
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
    Ok(Cage { process, input: BufWriter::new(input), output: BufReader::new(output), documents: 0 })
}
