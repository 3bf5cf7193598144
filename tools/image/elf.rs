//! What a program's file says of itself: which machine it is for, and that it needs no loader. No I/O.

use anyhow::{Context as _, Result, bail};
use object::read::elf::{ElfFile64, ProgramHeader as _};
use object::{Architecture, Endianness, Object as _};

/// The architecture as Go, and so an image, names it. A program that needs a loader is refused: nothing is in the
/// image but what was put there, and it would end with "no such file or directory".
pub(crate) fn architecture(program: &[u8]) -> Result<&'static str> {
    let file = ElfFile64::<Endianness>::parse(program).context("this is no 64-bit ELF program")?;
    for header in file.elf_program_headers() {
        if header.interpreter(file.endian(), program)?.is_some() {
            bail!("it is not static; tools/build-static builds it so");
        }
    }
    match file.architecture() {
        Architecture::X86_64 => Ok("amd64"),
        Architecture::Aarch64 => Ok("arm64"),
        other => bail!("{other:?} is not known here; add its name to tools/image/elf.rs"),
    }
}
