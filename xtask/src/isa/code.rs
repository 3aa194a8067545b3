//! AMD's code as LLVM's disassembler writes it: instructions with their operands and where branches lead.

use std::collections::HashMap;

/// The number of a register among the scalar ones.
pub const VCC: usize = 106;
pub const M0: usize = 124;
pub const EXEC: usize = 126;

/// What an instruction reads or writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Operand {
    /// So many scalar registers from a number on.
    Scalar(usize, usize),
    Vector(usize, usize),
    /// A constant's bits.
    Constant(u32),
    /// Whether the last scalar comparison held.
    Condition,
    /// What nothing is made of: a modified register, an absent address.
    Other,
}

/// What an instruction takes of the time of the lanes that it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A vector instruction, by how often slower than an addition it is.
    Vector(u32),
    /// Everything that a wave does once, or that other units do.
    Aside,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// Its name without the encoding.
    pub name: String,
    pub operands: Vec<Operand>,
    /// What stands behind the operands, or the offset.
    pub rest: String,
    /// The index of the instruction that a branch leads to.
    pub target: Option<usize>,
    pub class: Class,
}

impl Instruction {
    /// Whether the first operand is what it makes.
    pub fn has_result(&self) -> bool {
        let name = self.name.as_str();
        let none = [
            "s_cmp",
            "s_bitcmp",
            "v_cmpx_",
            "ds_write",
            "buffer_store_",
            "global_store_",
        ];
        !self.operands.is_empty() && !none.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// The instructions of a program.
pub fn read(text: &str) -> Result<Vec<Instruction>, String> {
    let mut labels = HashMap::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        let code = line.split([';', '/']).next().unwrap_or_default();
        let trimmed = code.trim();
        if let Some(label) = trimmed.strip_suffix(':') {
            labels.insert(label, lines.len());
        } else if code.starts_with([' ', '\t'])
            && trimmed.starts_with(|c: char| c.is_ascii_lowercase())
        {
            lines.push(trimmed);
        }
    }
    let instruction = |line: &&str| {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let name = bare(name);
        let mut operands = Vec::new();
        let mut behind = String::new();
        let mut target = None;
        for part in rest
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            // Modifiers stand behind the last operand, with spaces between.
            let (first, more) = part.split_once(' ').unwrap_or((part, ""));
            if is_branch(name) {
                target = labels.get(first).copied();
                if target.is_none() {
                    return Err(format!("{line}: it leads nowhere"));
                }
            } else {
                operands.push(operand(first));
            }
            behind.push_str(more);
        }
        Ok(Instruction {
            name: name.to_owned(),
            operands,
            rest: behind,
            target,
            class: class(name),
        })
    };
    lines.iter().map(instruction).collect()
}

/// The name without what says how it is encoded.
fn bare(name: &str) -> &str {
    let endings = ["_e32", "_e64", "_dpp", "_sdwa", "_e64_dpp"];
    let ending = endings
        .iter()
        .rev()
        .find_map(|ending| name.strip_suffix(ending));
    ending.unwrap_or(name)
}

fn is_branch(name: &str) -> bool {
    name == "s_branch" || name.starts_with("s_cbranch_")
}

fn operand(text: &str) -> Operand {
    let numbered = |text: &str| -> Option<(usize, usize)> {
        match text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
        {
            Some(range) => {
                let (first, last) = range.split_once(':').unwrap_or((range, range));
                let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
                Some((first, (last + 1).checked_sub(first)?))
            }
            None => Some((text.parse().ok()?, 1)),
        }
    };
    let of = |prefix: char| text.strip_prefix(prefix).and_then(numbered);
    match text {
        "vcc" => return Operand::Scalar(VCC, 2),
        "vcc_lo" => return Operand::Scalar(VCC, 1),
        "vcc_hi" => return Operand::Scalar(VCC + 1, 1),
        "exec" => return Operand::Scalar(EXEC, 2),
        "exec_lo" => return Operand::Scalar(EXEC, 1),
        "exec_hi" => return Operand::Scalar(EXEC + 1, 1),
        "m0" => return Operand::Scalar(M0, 1),
        "scc" | "src_scc" => return Operand::Condition,
        "off" => return Operand::Other,
        // It reads as 0.
        "null" => return Operand::Constant(0),
        _ => {}
    }
    if let Some((first, count)) = of('s') {
        return Operand::Scalar(first, count);
    }
    if let Some((first, count)) = of('v') {
        return Operand::Vector(first, count);
    }
    constant(text).map_or(Operand::Other, Operand::Constant)
}

/// The bits of a constant.
pub fn constant(text: &str) -> Option<u32> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u32::from_str_radix(digits, 16).ok();
    }
    if text.contains('.') {
        return text.parse().ok().map(f32::to_bits);
    }
    let number: i64 = text.parse().ok()?;
    let fits = (i64::from(i32::MIN)..=i64::from(u32::MAX)).contains(&number);
    fits.then_some(number as u32)
}

/// The rates of RDNA 2, as the compiler itself reckons with (`aco_statistics.cpp` of Mesa, from GFX10 on); but that a
/// transcendental function, which another unit computes in four turns, counts for all four.
fn class(name: &str) -> Class {
    let Some(operation) = name.strip_prefix("v_") else {
        return Class::Aside;
    };
    const TRANSCENDENTAL: [&str; 7] = ["rcp_", "rsq_", "sqrt_", "exp_", "log_", "sin_", "cos_"];
    const QUARTER: [&str; 4] = ["mul_lo_u32", "mul_hi_u32", "mul_hi_i32", "mad_u64_u32"];
    let double = operation.contains("f64");
    let turns = if double {
        16
    } else if TRANSCENDENTAL.iter().any(|t| operation.starts_with(t))
        || QUARTER.contains(&operation)
        || operation == "mad_i64_i32"
    {
        4
    } else if operation.ends_with("b64")
        || operation.ends_with("_u64")
        || operation.ends_with("_i64")
    {
        2
    } else {
        1
    };
    Class::Vector(turns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_read_with_their_operands() {
        let text = "BB0:\n\
                    \ts_load_dwordx4 s[4:7], s[2:3], 0x10               ; f4080101 fa000010\n\
                    \tv_cndmask_b32_e64 v1, -v2, 1.0, s[6:7]            ; d5010001 001a0480\n\
                    \tbuffer_load_dwordx4 v[4:7], v1, s[4:7], 0 offen offset:16 ; e0381010\n\
                    \ts_cbranch_execz BB1                                ; bf880001\n\
                    BB1:\n\
                    \ts_endpgm                                           ; bf810000\n";
        let program = read(text).unwrap();
        let names: Vec<&str> = program.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "s_load_dwordx4",
                "v_cndmask_b32",
                "buffer_load_dwordx4",
                "s_cbranch_execz",
                "s_endpgm"
            ]
        );
        let operands = [
            Operand::Scalar(4, 4),
            Operand::Scalar(2, 2),
            Operand::Constant(16),
        ];
        assert_eq!(program[0].operands, operands);
        let operands = [
            Operand::Vector(1, 1),
            Operand::Other,
            Operand::Constant(1.0f32.to_bits()),
            Operand::Scalar(6, 2),
        ];
        assert_eq!(program[1].operands, operands);
        assert_eq!(program[2].operands[3], Operand::Constant(0));
        assert!(program[2].rest.contains("offset:16"));
        assert_eq!(program[3].target, Some(4));
        assert!(read("\ts_branch BB7\n").is_err());
    }

    #[test]
    fn slow_instructions_count_for_more() {
        let turns = |name: &str| match class(name) {
            Class::Vector(turns) => turns,
            Class::Aside => 0,
        };
        assert_eq!(turns("v_fma_f32"), 1);
        assert_eq!(turns("v_cvt_f32_u32"), 1);
        assert_eq!(turns("v_exp_f32"), 4);
        assert_eq!(turns("v_mul_hi_u32"), 4);
        assert_eq!(turns("v_lshlrev_b64"), 2);
        assert_eq!(turns("v_add_f64"), 16);
        assert_eq!(turns("s_mul_i32"), 0);
        assert_eq!(turns("buffer_load_dword"), 0);
    }
}
