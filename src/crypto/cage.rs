//! The cage of libxmlsec1: a child process that can read its standard input, write its standard output, and do nothing else.
//!
//! The C libraries under `samael` meet every document that a stranger posts. In the cage a flaw of theirs reaches no network
//! and no file (landlock), no other system call than those of computing (seccomp), bounded memory and no new process
//! (resource limits), no environment and no key of ours. What takes it down costs one refused sign-in.
//!
//! Here is the child's side, and the frames both sides speak; `federation::verifier` keeps the children.
//!
//! A frame is a length (4 bytes, big-endian) and so many bytes. A question is: the number of certificates (a byte), the
//! certificates as frames, the document as a frame. An answer is: a byte (0 accepted, 1 refused), the octets as a frame.

use super::xmldsig::{sign, xmlsec};
use std::io::{self, Read, Write};

/// Largest frame, in bytes.
const MAX_FRAME: u32 = 4 * 1024 * 1024;
/// Most certificates of a question.
const MAX_CERTIFICATES: usize = 64;
/// Memory a child may take on top of what it began with, in bytes.
const MEMORY: u64 = 256 * 1024 * 1024;
/// Where its own figure can't be read, what it is taken to have begun with, in bytes.
const BEGAN_WITH: u64 = 1024 * 1024 * 1024;
/// Processor time of a child's whole life, in seconds.
const CPU_SECONDS: u64 = 60;
/// Documents after which a child is let go: few enough that an honest one never meets [`CPU_SECONDS`].
pub const MAX_DOCUMENTS: u32 = 1_000;
/// What the allocator is told, so that it does not reserve more than that at once: a variable of the child's environment.
pub const ALLOCATOR: (&str, &str) = ("MIMALLOC_ARENA_RESERVE", "32MiB");

/// What a child says first: how far it is caged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caged {
    /// No file, no network, no other call: seccomp holds, and landlock where the kernel has it.
    Fully,
    /// The kernel has no seccomp: the process boundary, the limits and perhaps landlock hold.
    Partly,
}

impl Caged {
    const fn byte(self) -> u8 {
        match self {
            Self::Fully => b'F',
            Self::Partly => b'P',
        }
    }
    /// Reads a child's first byte.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        match byte {
            [b'F'] => Ok(Self::Fully),
            [b'P'] => Ok(Self::Partly),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn write_frame(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= MAX_FRAME);
    to.write_all(&length.ok_or(io::ErrorKind::InvalidInput)?.to_be_bytes())?;
    to.write_all(bytes)
}

fn read_frame(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_FRAME {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Asks the child at the other end of two pipes. None: libxmlsec1 refuses the document.
///
/// # Errors
/// When the child is gone or speaks nonsense; it is of no more use then.
pub fn ask(to: &mut impl Write, from: &mut impl Read, xml: &str, certificates: &[Vec<u8>]) -> io::Result<Option<String>> {
    let certificates = certificates.get(..MAX_CERTIFICATES).unwrap_or(certificates);
    to.write_all(&[u8::try_from(certificates.len()).unwrap_or_default()])?;
    for certificate in certificates {
        write_frame(to, certificate)?;
    }
    write_frame(to, xml.as_bytes())?;
    to.flush()?;
    let mut verdict = [0];
    from.read_exact(&mut verdict)?;
    let octets = String::from_utf8(read_frame(from)?).map_err(|_| io::ErrorKind::InvalidData)?;
    match verdict {
        [0] => Ok(Some(octets)),
        [1] => Ok(None),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The child: locks itself in, then answers until its input ends.
///
/// # Errors
/// When the other side is gone.
pub fn serve(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    // Whatever the libraries load on first use they load now: later there are no files. And a cage in which nothing can be
    // verified any more is none.
    let (document, certificate) = sample().map_err(io::Error::other)?;
    let verifies = || xmlsec::octets(&document, std::slice::from_ref(&certificate)).map_err(io::Error::other);
    verifies()?;
    let caged = lock();
    verifies()?;
    to.write_all(&[caged.byte()])?;
    to.flush()?;
    loop {
        let mut count = [0];
        match from.read_exact(&mut count) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let count = usize::from(u8::from_be_bytes(count)).min(MAX_CERTIFICATES);
        let certificates = (0..count).map(|_| read_frame(&mut from)).collect::<io::Result<Vec<_>>>()?;
        let xml = String::from_utf8(read_frame(&mut from)?).map_err(|_| io::ErrorKind::InvalidData)?;
        let answer = xmlsec::octets(&xml, &certificates);
        to.write_all(&[u8::from(answer.is_err())])?;
        write_frame(&mut to, answer.unwrap_or_default().as_bytes())?;
        to.flush()?;
    }
}

/// A signed document, and the certificate that verifies it.
fn sample() -> Result<(String, Vec<u8>), String> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|error| error.to_string())?;
    let parameters = rcgen::CertificateParams::new(Vec::new()).map_err(|error| error.to_string())?;
    let certificate = parameters.self_signed(&key).map_err(|error| error.to_string())?;
    let template = sign::template("_s").replace("#rsa-sha256", "#ecdsa-sha256");
    let document = format!("<a xmlns=\"urn:a\" ID=\"_s\">{template}</a>");
    let signed = sign::enveloped_p256(&document, &key.serialize_der())?;
    Ok((signed, certificate.der().to_vec()))
}

/// Gives up everything that verifying a signature does not need.
fn lock() -> Caged {
    let bound = began_with().unwrap_or(BEGAN_WITH) + MEMORY;
    forbid_files();
    limit(bound);
    // Last: it forbids the calls that the others are made of.
    if forbid_calls().is_ok() { Caged::Fully } else { Caged::Partly }
}

/// Writable memory of this process so far, in bytes: `VmData` of proc(5), which is what the limit counts.
fn began_with() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmData:"))?.trim().strip_suffix(" kB")?;
    kilobytes.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn limit(memory: u64) {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // Of all its life: one that spins after the broker is gone ends, too.
    let _ = setrlimit(Resource::Cpu, Rlimit { current: Some(CPU_SECONDS), maximum: Some(CPU_SECONDS) });
    for resource in [Resource::Core, Resource::Fsize, Resource::Nproc, Resource::Nofile] {
        let _ = setrlimit(resource, none);
    }
    let _ = setrlimit(Resource::Data, Rlimit { current: Some(memory), maximum: Some(memory) });
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Without rules nothing is allowed. A kernel without landlock enforces nothing of it: seccomp forbids the same again.
fn forbid_files() {
    use landlock::{ABI, Access as _, AccessFs, AccessNet, Ruleset, RulesetAttr as _, Scope};
    let _ = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V3))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(ABI::V4)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(ABI::V6)))
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self);
}

/// Memory, reading, writing, waiting and ending; any other call fails with `EPERM`.
fn forbid_calls() -> Result<(), seccompiler::Error> {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Compare, SeccompCondition, SeccompFilter,
        SeccompRule,
    };
    // It may abort itself, and nobody else.
    let own = SeccompCondition::new(0, Length::Dword, Compare::Eq, u64::from(std::process::id()));
    let own = own.and_then(|own| SeccompRule::new(vec![own])).map_err(seccompiler::Error::Backend)?;
    let filter = SeccompFilter::new(
        CALLS.iter().map(|call| (*call, Vec::new())).chain([(TGKILL, vec![own])]).collect(),
        SeccompAction::Errno(1),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into().map_err(seccompiler::Error::Backend)?,
    )
    .map_err(seccompiler::Error::Backend)?;
    let program: BpfProgram = filter.try_into().map_err(seccompiler::Error::Backend)?;
    seccompiler::apply_filter(&program)
}

/// Numbers of the calls, from the kernel's tables for the two architectures there are builds for.
#[cfg(target_arch = "x86_64")]
const CALLS: &[i64] = &[
    0,   // read
    1,   // write
    3,   // close
    9,   // mmap
    10,  // mprotect
    11,  // munmap
    12,  // brk
    13,  // rt_sigaction
    14,  // rt_sigprocmask
    15,  // rt_sigreturn
    20,  // writev
    24,  // sched_yield
    25,  // mremap
    28,  // madvise
    39,  // getpid
    60,  // exit
    131, // sigaltstack
    186, // gettid
    202, // futex
    228, // clock_gettime
    231, // exit_group
    318, // getrandom
];
/// tgkill: with conditions.
#[cfg(target_arch = "x86_64")]
const TGKILL: i64 = 234;
/// See above.
#[cfg(target_arch = "aarch64")]
const TGKILL: i64 = 131;
/// See above.
#[cfg(target_arch = "aarch64")]
const CALLS: &[i64] = &[
    57,  // close
    63,  // read
    64,  // write
    66,  // writev
    93,  // exit
    94,  // exit_group
    98,  // futex
    113, // clock_gettime
    124, // sched_yield
    132, // sigaltstack
    134, // rt_sigaction
    135, // rt_sigprocmask
    139, // rt_sigreturn
    172, // getpid
    178, // gettid
    214, // brk
    215, // munmap
    216, // mremap
    222, // mmap
    226, // mprotect
    233, // madvise
    278, // getrandom
];
