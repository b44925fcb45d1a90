//! The `daypass` command.

/// Answers are made of many small pieces, and most of a call's own time is getting and giving back their memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    daypass::cli::run()
}
