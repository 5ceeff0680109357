//! ELF objects for the kernel: taking out what it does not read, and comparing what it does.
//!
//! Two builds in different folders differ in type information (paths, lines) and in the hashed names of functions, never
//! in code. So sections are compared by their bytes, and relocations by where they lead rather than by name.

use std::collections::BTreeMap;

use anyhow::Result;
use object::build::elf::Builder;
use object::read::elf::ElfFile64;
use object::read::{Object, ObjectSection, ObjectSymbol, RelocationTarget};

/// Sections that say how to read the object, not what it does.
const DESCRIPTIVE: &[&str] =
    &[".BTF", ".BTF.ext", ".llvm_addrsig", ".strtab", ".shstrtab", ".symtab", ".comment"];

/// What the kernel gets of one section.
#[derive(Debug, PartialEq, Eq)]
struct Section {
    bytes: Vec<u8>,
    /// Offset, and what is put there.
    relocations: Vec<(u64, String)>,
}

/// The object without DWARF; BTF, code, maps, licence and symbols stay.
///
/// # Errors
/// When it is no 64-bit ELF object.
pub(super) fn without_debug_sections(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object)?;
    for section in &mut builder.sections {
        let name = section.name.to_string();
        let name = name.strip_prefix(".rel").unwrap_or(&name);
        section.delete = name.starts_with(".debug_") || name == ".comment";
    }
    builder.delete_orphans();
    let mut bytes = Vec::new();
    builder.write(&mut bytes)?;
    Ok(bytes)
}

/// Names of the sections that differ, each with how.
///
/// # Errors
/// When one of them is no 64-bit ELF object.
pub(super) fn differences(kept: &[u8], built: &[u8]) -> Result<Vec<String>> {
    let (kept, built) = (sections(kept)?, sections(built)?);
    let mut names: Vec<&String> = kept.keys().chain(built.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let difference = |name: &String| match (kept.get(name), built.get(name)) {
        (Some(kept), Some(built)) if kept == built => None,
        (Some(kept), Some(built)) if kept.bytes == built.bytes => {
            Some(format!("{name} (relocations)"))
        }
        (Some(_), Some(_)) => Some(format!("{name} (contents)")),
        (None, _) => Some(format!("{name} (missing)")),
        (_, None) => Some(format!("{name} (no longer built)")),
    };
    Ok(names.into_iter().filter_map(difference).collect())
}

fn sections(object: &[u8]) -> Result<BTreeMap<String, Section>> {
    let file = ElfFile64::<object::Endianness>::parse(object)?;
    let mut sections = BTreeMap::new();
    for section in file.sections() {
        let name = section.name()?;
        if name.is_empty()
            || name.starts_with(".debug_")
            || name.starts_with(".rel")
            || DESCRIPTIVE.contains(&name)
        {
            continue;
        }
        let mut relocations = Vec::new();
        for (offset, relocation) in section.relocations() {
            relocations.push((offset, target(&file, relocation.target())?));
        }
        sections.insert(name.to_owned(), Section { bytes: section.data()?.to_vec(), relocations });
    }
    Ok(sections)
}

/// Section and offset that a relocation leads to; the name too where it means something (maps are found by name).
fn target(file: &ElfFile64<'_>, target: RelocationTarget) -> Result<String> {
    let RelocationTarget::Symbol(index) = target else { return Ok(format!("{target:?}")) };
    let symbol = file.symbol_by_index(index)?;
    let Some(section) = symbol.section_index() else { return Ok(symbol.name()?.to_owned()) };
    let place = file.section_by_index(section)?.name()?.to_owned();
    let name = if place == "maps" || place == ".maps" { symbol.name()? } else { "" };
    Ok(format!("{place}+{}{name}", symbol.address()))
}
