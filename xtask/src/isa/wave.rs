//! What one wave executes of a program, counted by walking it: whole numbers that the dispatch fixes are computed, so
//! that loops turn as often as they would, and everything that comes from arrays is unknown. Where such a value
//! decides about a branch forward, what it would skip is executed.

use super::code::{Class, EXEC, Instruction, Operand, VCC};

/// Lanes of a wave.
pub const LANES: usize = 64;
/// Where the descriptors of the bindings are said to lie.
const DESCRIPTORS: u32 = 0x0001_0000;
/// The first word of a binding's descriptor, but for its number.
const DESCRIPTOR: u32 = 0xb1d0_0000;
/// Instructions after which a loop counts as one without an end.
const MOST: u64 = 20_000_000;

/// What a dispatch fixes.
#[derive(Clone, Debug, Default)]
pub struct Dispatch {
    /// The words of each binding that is uniform.
    pub uniforms: Vec<Option<Vec<u32>>>,
    pub workgroup: u32,
    pub groups: [u32; 2],
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Turns of the vector unit, of all lanes at once.
    pub turns: u64,
    pub instructions: u64,
    /// Bytes that active lanes read and write, of all arrays.
    pub read: u64,
    pub written: u64,
    /// Instructions of the workgroup's memory.
    pub local: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.turns += other.turns;
        self.instructions += other.instructions;
        self.read += other.read;
        self.written += other.written;
        self.local += other.local;
    }
}

/// What the waves of the first workgroup execute together, and the most turns of one.
pub fn group(program: &[Instruction], dispatch: &Dispatch) -> Result<(Cost, u64), String> {
    let mut all = Cost::default();
    let mut most = 0;
    for wave in 0..dispatch.workgroup.div_ceil(LANES as u32) {
        let cost = Wave::new(program, dispatch, wave).run(program)?;
        most = most.max(cost.turns);
        all += cost;
    }
    Ok((all, most))
}

/// Where RADV puts the number of workgroups, and the first of the number of the wave's own. Two registers have to do
/// with scratch memory, and one with the descriptors. Where the program takes the number of workgroups, it is in the next
/// three; a program that takes it takes its workgroup's number, too.
fn arguments(program: &[Instruction]) -> (Option<usize>, usize) {
    const FIRST: usize = 3;
    let mut written = [false; 128];
    let mut taken = 0;
    for instruction in program {
        let results = usize::from(instruction.has_result());
        for operand in instruction.operands.iter().skip(results) {
            if let Operand::Scalar(first, count) = *operand {
                let fresh = (first..first + count).filter(|&i| i < VCC && !written[i]);
                taken = fresh.fold(taken, usize::max);
            }
        }
        if let (1, Some(&Operand::Scalar(first, count))) = (results, instruction.operands.first()) {
            written[first..(first + count).min(128)].fill(true);
        }
    }
    match taken >= FIRST + 3 {
        true => (Some(FIRST), FIRST + 3),
        false => (None, FIRST),
    }
}

/// 64 bits, each of them known or not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Bits {
    value: u64,
    known: u64,
}

impl Bits {
    const UNKNOWN: Self = Self { value: 0, known: 0 };

    fn of(value: u64) -> Self {
        let known = u64::MAX;
        Self { value, known }
    }

    fn whole(self, width: u32) -> Option<u64> {
        let mask = u64::MAX >> (64 - width);
        (self.known & mask == mask).then_some(self.value & mask)
    }

    fn and(self, other: Self) -> Self {
        let zero = (self.known & !self.value) | (other.known & !other.value);
        let known = (self.known & other.known) | zero;
        let value = self.value & other.value & known;
        Self { value, known }
    }

    fn not(self) -> Self {
        let value = !self.value & self.known;
        Self { value, ..self }
    }

    fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }

    fn xor(self, other: Self) -> Self {
        let known = self.known & other.known;
        let value = (self.value ^ other.value) & known;
        Self { value, known }
    }

    /// Whether any of the lower bits is set.
    fn any(self, width: u32) -> Option<bool> {
        let mask = u64::MAX >> (64 - width);
        if self.value & self.known & mask != 0 {
            return Some(true);
        }
        (self.known & mask == mask).then_some(false)
    }

    /// The bits that may be set.
    fn possible(self) -> u64 {
        self.value | !self.known
    }
}

/// A vector register.
#[derive(Clone, Copy)]
struct Lanes {
    value: [u32; LANES],
    known: u64,
}

impl Lanes {
    const UNKNOWN: Self = Self {
        value: [0; LANES],
        known: 0,
    };

    fn get(&self, lane: usize) -> Option<u32> {
        (self.known >> lane & 1 == 1).then_some(self.value[lane])
    }

    fn set(&mut self, lane: usize, value: Option<u32>) {
        match value {
            Some(value) => {
                self.value[lane] = value;
                self.known |= 1 << lane;
            }
            None => self.known &= !(1 << lane),
        }
    }
}

struct Wave<'a> {
    dispatch: &'a Dispatch,
    scalar: [Bits; 128],
    vector: Vec<Lanes>,
    condition: Option<bool>,
    cost: Cost,
}

impl<'a> Wave<'a> {
    /// A wave of the first workgroup as RADV starts it: the descriptors' address, the number of workgroups and that of
    /// its own in those scalar registers that the program takes them from, and the place in the workgroup.
    fn new(program: &[Instruction], dispatch: &'a Dispatch, wave: u32) -> Self {
        let mut new = Self {
            dispatch,
            scalar: [Bits::UNKNOWN; 128],
            vector: vec![Lanes::UNKNOWN; 256],
            condition: None,
            cost: Cost::default(),
        };
        let (groups, own) = arguments(program);
        let known = |number: u32| Bits::of(number.into());
        new.set_scalar(2, 1, known(DESCRIPTORS));
        if let Some(groups) = groups {
            let [columns, rows] = dispatch.groups;
            for (i, count) in [columns, rows, 1].into_iter().enumerate() {
                new.set_scalar(groups + i, 1, known(count));
            }
        }
        for i in 0..3 {
            // Of the first workgroup.
            new.set_scalar(own + i, 1, known(0));
        }
        let first = wave * LANES as u32;
        let lanes = dispatch.workgroup.saturating_sub(first).min(LANES as u32);
        let active = u64::MAX >> (LANES as u32 - lanes);
        new.set_scalar(EXEC, 2, Bits::of(active));
        for lane in 0..LANES {
            new.vector[0].set(lane, Some(first + lane as u32));
            new.vector[1].set(lane, Some(0));
            new.vector[2].set(lane, Some(0));
        }
        new
    }

    fn scalar(&self, first: usize, count: usize) -> Bits {
        let low = self.scalar.get(first).copied().unwrap_or_default();
        if count < 2 {
            return low;
        }
        let high = self.scalar.get(first + 1).copied().unwrap_or_default();
        let half = |bits: Bits| (bits.value & 0xffff_ffff, bits.known & 0xffff_ffff);
        let ((lv, lk), (hv, hk)) = (half(low), half(high));
        Bits {
            value: lv | hv << 32,
            known: lk | hk << 32,
        }
    }

    fn set_scalar(&mut self, first: usize, count: usize, bits: Bits) {
        for i in 0..count.max(1) {
            let shift = 32 * i as u32;
            let part = |word: u64| {
                if shift < 64 {
                    word >> shift & 0xffff_ffff
                } else {
                    0
                }
            };
            if let Some(register) = self.scalar.get_mut(first + i) {
                *register = Bits {
                    value: part(bits.value),
                    known: part(bits.known),
                };
            }
        }
    }

    fn exec(&self) -> Bits {
        self.scalar(EXEC, 2)
    }

    /// A scalar operand of so many bits.
    fn read(&self, operand: Option<&Operand>, width: u32) -> Bits {
        match operand {
            Some(&Operand::Scalar(first, _)) => self.scalar(first, width as usize / 32),
            // Constants of 64 bits are widened with their sign.
            Some(&Operand::Constant(bits)) if width == 64 => Bits::of(bits as i32 as i64 as u64),
            Some(&Operand::Constant(bits)) => Bits::of(bits.into()),
            Some(Operand::Condition) => match self.condition {
                Some(condition) => Bits::of(condition.into()),
                None => Bits::UNKNOWN,
            },
            _ => Bits::UNKNOWN,
        }
    }

    fn word(&self, operand: Option<&Operand>) -> Option<u32> {
        self.read(operand, 32).whole(32).map(|word| word as u32)
    }

    /// An operand as a lane sees it.
    fn lane(&self, operand: &Operand, lane: usize) -> Option<u32> {
        match *operand {
            Operand::Vector(number, _) => self.vector.get(number)?.get(lane),
            _ => self.word(Some(operand)),
        }
    }

    /// Bytes of memory that an instruction moves a lane, where it does.
    fn bytes_of(name: &str) -> Option<(bool, u64)> {
        let rest = ["buffer_", "global_"]
            .iter()
            .find_map(|p| name.strip_prefix(p))?;
        let (load, what) = match (rest.strip_prefix("load_"), rest.strip_prefix("store_")) {
            (Some(what), _) => (true, what),
            (_, Some(what)) => (false, what),
            _ => return None,
        };
        let bytes = match what {
            "dword" | "b32" => 4,
            "dwordx2" | "b64" => 8,
            "dwordx3" | "b96" => 12,
            "dwordx4" | "b128" => 16,
            _ if what.contains("byte") || what.contains("8") => 1,
            _ => 2,
        };
        Some((load, bytes))
    }

    fn run(mut self, program: &[Instruction]) -> Result<Cost, String> {
        let mut at = 0;
        while let Some(instruction) = program.get(at) {
            self.cost.instructions += 1;
            if self.cost.instructions > MOST {
                return Err("a loop's end is not known".to_owned());
            }
            if let Class::Vector(turns) = instruction.class {
                self.cost.turns += u64::from(turns);
            }
            let name = instruction.name.as_str();
            if name == "s_endpgm" {
                return Ok(self.cost);
            }
            if let Some(target) = instruction.target {
                at = match self.takes(name, target <= at)? {
                    true => target,
                    false => at + 1,
                };
                continue;
            }
            if let Some((load, bytes)) = Self::bytes_of(name) {
                let moved = bytes * u64::from(self.exec().possible().count_ones());
                match load {
                    true => self.cost.read += moved,
                    false => self.cost.written += moved,
                }
            }
            if name.starts_with("ds_") {
                self.cost.local += 1;
            }
            self.execute(instruction);
            at += 1;
        }
        Err("the program has no end".to_owned())
    }

    /// Whether a branch is taken.
    fn takes(&self, name: &str, back: bool) -> Result<bool, String> {
        let (bits, wanted) = match name {
            "s_branch" => return Ok(true),
            "s_cbranch_execz" => (self.exec().any(64), false),
            "s_cbranch_execnz" => (self.exec().any(64), true),
            "s_cbranch_vccz" => (self.scalar(VCC, 2).any(64), false),
            "s_cbranch_vccnz" => (self.scalar(VCC, 2).any(64), true),
            "s_cbranch_scc0" => (self.condition, false),
            "s_cbranch_scc1" => (self.condition, true),
            _ => return Err(format!("{name} is no known branch")),
        };
        match bits {
            Some(bit) => Ok(bit == wanted),
            // Lanes that may go on do.
            None if name.starts_with("s_cbranch_exec") => Ok(wanted),
            None if back => Err("a loop's end is not known".to_owned()),
            None => Ok(false),
        }
    }

    fn execute(&mut self, instruction: &Instruction) {
        let name = instruction.name.as_str();
        if name.starts_with("s_load_") || name.starts_with("s_buffer_load_") {
            self.load(instruction);
        } else if let Some(operation) = name.strip_prefix("s_") {
            self.execute_scalar(operation, instruction);
        } else if let Some(operation) = name.strip_prefix("v_") {
            self.execute_vector(operation, instruction);
        } else {
            self.forget(instruction, 1);
        }
    }

    /// Results of which nothing is known: the first operands.
    fn forget(&mut self, instruction: &Instruction, results: usize) {
        let possible = self.exec().possible();
        for operand in instruction.operands.iter().take(results) {
            match *operand {
                Operand::Scalar(first, count) => {
                    (0..count.max(1)).for_each(|i| self.set_scalar(first + i, 1, Bits::UNKNOWN));
                }
                Operand::Vector(first, count) => {
                    for register in self.vector.iter_mut().skip(first).take(count) {
                        register.known &= !possible;
                    }
                }
                _ => {}
            }
        }
    }

    /// A scalar load: of a descriptor, or of a uniform's words.
    fn load(&mut self, instruction: &Instruction) {
        self.forget(instruction, 1);
        let [Operand::Scalar(to, count), Operand::Scalar(base, _), ..] = instruction.operands[..]
        else {
            return;
        };
        let offset = |text: &str| {
            let text = text.split_once("offset:").map(|(_, text)| text);
            let word = text.and_then(|text| text.split(' ').next());
            word.and_then(super::code::constant).unwrap_or(0)
        };
        let start = self.word(instruction.operands.get(2));
        let Some(start) = start.map(|start| start.wrapping_add(offset(&instruction.rest))) else {
            return;
        };
        let Some(address) = self.word(Some(&Operand::Scalar(base, 1))) else {
            return;
        };
        for i in 0..count {
            let at = start / 4 + i as u32;
            let word = if instruction.name.starts_with("s_buffer_load_") {
                let binding = address.wrapping_sub(DESCRIPTOR) as usize;
                let words = self.dispatch.uniforms.get(binding).and_then(Option::as_ref);
                // What lies behind the end is 0.
                words.map(|words| words.get(at as usize).copied().unwrap_or(0))
            } else if address.wrapping_sub(DESCRIPTORS) < 0x1000 {
                let at = address.wrapping_sub(DESCRIPTORS) / 4 + at;
                at.is_multiple_of(4).then_some(DESCRIPTOR + at / 4)
            } else {
                None
            };
            if let Some(word) = word {
                self.set_scalar(to + i, 1, Bits::of(word.into()));
            }
        }
    }

    fn execute_scalar(&mut self, operation: &str, instruction: &Instruction) {
        let operands = &instruction.operands;
        let first = operands.first().copied();
        let width = if operation.ends_with("64") { 64 } else { 32 };
        let [a, b] = [1, 2].map(|i| self.read(operands.get(i), width));
        let whole = |bits: Bits| bits.whole(width);
        // Comparisons have no result but the condition.
        if let Some(compared) = operation
            .strip_prefix("cmp_")
            .or(operation.strip_prefix("cmpk_"))
        {
            let [a, b] = [0, 1].map(|i| self.read(operands.get(i), width).whole(width));
            self.condition = a.zip(b).and_then(|(a, b)| compare(compared, a, b));
            return;
        }
        if let Some(bit) = operation.strip_prefix("bitcmp") {
            let [a, b] = [0, 1].map(|i| self.word(operands.get(i)));
            let set = a.zip(b).map(|(a, b)| a >> (b & 31) & 1 == 1);
            self.condition = set.map(|set| set == bit.starts_with('1'));
            return;
        }
        if let Some(combined) = operation.strip_suffix("_saveexec_b64") {
            let (exec, value) = (self.exec(), a);
            let value = match combined {
                "and" => value.and(exec),
                "or" => value.or(exec),
                "xor" => value.xor(exec),
                "andn2" => value.and(exec.not()),
                "orn2" => value.or(exec.not()),
                _ => Bits::UNKNOWN,
            };
            self.condition = value.any(64);
            if let Some(Operand::Scalar(to, _)) = first {
                self.set_scalar(to, 2, exec);
            }
            self.set_scalar(EXEC, 2, value);
            return;
        }
        // A result, which the condition tells about where `sets` is left.
        let mut sets = true;
        let known = |value: Option<u64>| value.map_or(Bits::UNKNOWN, Bits::of);
        let two = |f: fn(u32, u32) -> u32| {
            known(
                whole(a)
                    .zip(whole(b))
                    .map(|(a, b)| f(a as u32, b as u32).into()),
            )
        };
        let bitwise = operation.trim_end_matches("_b32").trim_end_matches("_b64");
        let value = match bitwise {
            "and" => a.and(b),
            "or" => a.or(b),
            "xor" => a.xor(b),
            "andn2" => a.and(b.not()),
            "orn2" => a.or(b.not()),
            "nand" => a.and(b).not(),
            "nor" => a.or(b).not(),
            "xnor" => a.xor(b).not(),
            "not" => a.not(),
            "lshl" => known(
                whole(a)
                    .zip(b.whole(6))
                    .map(|(a, b)| a << (b % u64::from(width))),
            ),
            "lshr" => known(
                whole(a)
                    .zip(b.whole(6))
                    .map(|(a, b)| a >> (b % u64::from(width))),
            ),
            _ => {
                sets = false;
                match operation {
                    "mov_b32" | "mov_b64" => a,
                    "cselect_b32" | "cselect_b64" => match self.condition {
                        Some(true) => a,
                        Some(false) => b,
                        None if a == b => a,
                        None => Bits::UNKNOWN,
                    },
                    "cmov_b32" | "cmov_b64" => match (self.condition, first) {
                        (Some(true), _) => a,
                        (Some(false), Some(to)) => self.read(Some(&to), width),
                        _ => Bits::UNKNOWN,
                    },
                    "movk_i32" => known(whole(a).map(|a| a as i16 as i32 as u32 as u64)),
                    "mulk_i32" | "addk_i32" => {
                        let own = self.word(first.as_ref());
                        let constant = whole(a).map(|a| a as i16 as i32 as u32);
                        let both = own.zip(constant);
                        let adds = operation == "addk_i32";
                        if adds {
                            // It tells about overflow.
                            self.condition = None;
                        }
                        known(both.map(|(own, k)| match adds {
                            true => own.wrapping_add(k).into(),
                            false => own.wrapping_mul(k).into(),
                        }))
                    }
                    "mul_i32" => two(u32::wrapping_mul),
                    "mul_hi_u32" => two(|a, b| ((u64::from(a) * u64::from(b)) >> 32) as u32),
                    "bfm_b32" => two(|a, b| (((1u64 << (a & 31)) - 1) << (b & 31)) as u32),
                    "bfm_b64" => known(
                        a.whole(32)
                            .zip(b.whole(32))
                            .map(|(a, b)| ((1u64 << (a & 63)) - 1) << (b & 63)),
                    ),
                    "pack_ll_b32_b16" => two(|a, b| a & 0xffff | b << 16),
                    "add_u32" | "add_i32" => {
                        let sum = whole(a).zip(whole(b)).map(|(a, b)| a + b);
                        let carry = sum.filter(|_| operation == "add_u32");
                        self.set_result(first, 32, known(sum.map(|sum| sum & 0xffff_ffff)));
                        self.condition = carry.map(|sum| sum >> 32 != 0);
                        return;
                    }
                    "addc_u32" => {
                        let carry = self.condition.map(u64::from);
                        let sum = whole(a)
                            .zip(whole(b))
                            .zip(carry)
                            .map(|((a, b), c)| a + b + c);
                        self.set_result(first, 32, known(sum.map(|sum| sum & 0xffff_ffff)));
                        self.condition = sum.map(|sum| sum >> 32 != 0);
                        return;
                    }
                    "sub_u32" | "sub_i32" => {
                        let both = whole(a).zip(whole(b));
                        let borrow = both.filter(|_| operation == "sub_u32").map(|(a, b)| b > a);
                        let value = both.map(|(a, b)| u64::from((a as u32).wrapping_sub(b as u32)));
                        self.set_result(first, 32, known(value));
                        self.condition = borrow;
                        return;
                    }
                    "min_u32" | "max_u32" | "min_i32" | "max_i32" => {
                        let both = whole(a).zip(whole(b)).map(|(a, b)| (a as u32, b as u32));
                        let least = both.map(|(a, b)| match operation.ends_with("i32") {
                            true => (a as i32) < b as i32,
                            false => a < b,
                        });
                        let takes_first = least.map(|least| least == operation.starts_with("min"));
                        let value = both
                            .zip(takes_first)
                            .map(|((a, b), first)| if first { a } else { b });
                        self.set_result(first, 32, known(value.map(u64::from)));
                        self.condition = takes_first;
                        return;
                    }
                    "lshl1_add_u32" => two(|a, b| (a << 1).wrapping_add(b)),
                    "lshl2_add_u32" => two(|a, b| (a << 2).wrapping_add(b)),
                    "lshl3_add_u32" => two(|a, b| (a << 3).wrapping_add(b)),
                    "lshl4_add_u32" => two(|a, b| (a << 4).wrapping_add(b)),
                    "ashr_i32" => {
                        sets = true;
                        two(|a, b| (a as i32 >> (b & 31)) as u32)
                    }
                    "bfe_u32" => {
                        sets = true;
                        two(|a, b| {
                            let width = b >> 16 & 0x7f;
                            let mask = if width > 31 {
                                u32::MAX
                            } else {
                                (1 << width) - 1
                            };
                            a >> (b & 31) & mask
                        })
                    }
                    "bcnt1_i32_b64" => {
                        sets = true;
                        known(a.whole(64).map(|a| a.count_ones().into()))
                    }
                    "ff1_i32_b64" => known(a.whole(64).map(|a| a.trailing_zeros().into())),
                    "ff1_i32_b32" => known(whole(a).map(|a| (a as u32).trailing_zeros().into())),
                    // Waits, barriers and hints change no register.
                    _ if first.is_none() || !matches!(first, Some(Operand::Scalar(..))) => return,
                    _ => {
                        self.condition = None;
                        Bits::UNKNOWN
                    }
                }
            }
        };
        if sets {
            self.condition = value.any(width);
        }
        self.set_result(first, width, value);
    }

    fn set_result(&mut self, to: Option<Operand>, width: u32, value: Bits) {
        if let Some(Operand::Scalar(to, count)) = to {
            self.set_scalar(to, count.min(width as usize / 32), value);
        }
    }

    fn execute_vector(&mut self, operation: &str, instruction: &Instruction) {
        let operands = &instruction.operands;
        let exec = self.exec();
        let possible = exec.possible();
        if let Some(compared) = operation.strip_prefix("cmpx_") {
            let result = self.compared(compared, operands, possible);
            self.set_scalar(EXEC, 2, result.and(exec));
            return;
        }
        if let Some(compared) = operation.strip_prefix("cmp_") {
            let result = self.compared(compared, operands.get(1..).unwrap_or_default(), possible);
            let value = result.and(exec);
            self.set_result(operands.first().copied(), 64, value);
            return;
        }
        match operation {
            "readfirstlane_b32" => {
                let lane = possible.trailing_zeros() as usize % LANES;
                let sure = exec.known >> lane & 1 == 1 && possible != 0;
                let value = operands.get(1).and_then(|operand| self.lane(operand, lane));
                let value = value.filter(|_| sure || self.is_uniform(operands.get(1), possible));
                let bits = value.map_or(Bits::UNKNOWN, |value| Bits::of(value.into()));
                self.set_result(operands.first().copied(), 32, bits);
                return;
            }
            "readlane_b32" => {
                let lane = self.word(operands.get(2)).map(|lane| lane as usize % LANES);
                let value = operands
                    .get(1)
                    .zip(lane)
                    .and_then(|(operand, lane)| self.lane(operand, lane));
                let bits = value.map_or(Bits::UNKNOWN, |value| Bits::of(value.into()));
                self.set_result(operands.first().copied(), 32, bits);
                return;
            }
            "writelane_b32" => {
                let value = self.word(operands.get(1));
                let lane = self.word(operands.get(2)).map(|lane| lane as usize % LANES);
                if let Some(&Operand::Vector(to, _)) = operands.first() {
                    match lane {
                        Some(lane) => self.vector[to].set(lane, value),
                        None => self.vector[to].known = 0,
                    }
                }
                return;
            }
            _ => {}
        }
        let carries = [
            "add_co",
            "sub_co",
            "subrev_co",
            "div_scale",
            "mad_u64",
            "mad_i64",
        ];
        let carries = carries.iter().any(|prefix| operation.starts_with(prefix));
        let (Some(f), false, Some(&Operand::Vector(to, 1))) =
            (vector_operation(operation), carries, operands.first())
        else {
            return self.forget(instruction, 1 + usize::from(carries));
        };
        // What lies in other lanes of a register of the same instruction is not moved by these.
        if instruction.rest.contains("dpp")
            || instruction.rest.contains("sel:")
            || instruction.rest.contains("quad_perm")
            || instruction.rest.contains("row_")
        {
            return self.forget(instruction, 1);
        }
        let choice = (operation == "cndmask_b32").then(|| self.read(operands.get(3), 64));
        let mut result = self.vector[to];
        for lane in 0..LANES {
            if possible >> lane & 1 == 0 {
                continue;
            }
            let value = |i: usize| operands.get(i).and_then(|operand| self.lane(operand, lane));
            let computed = match choice {
                Some(choice) => match (choice.known >> lane & 1, choice.value >> lane & 1) {
                    (0, _) => value(1).filter(|&v| value(2) == Some(v)),
                    (_, 0) => value(1),
                    _ => value(2),
                },
                None => f([value(1), value(2), value(3)]),
            };
            // A lane that may be inactive keeps what it has.
            let sure = exec.known >> lane & 1 == 1;
            let kept = result.get(lane);
            result.set(lane, computed.filter(|&new| sure || kept == Some(new)));
        }
        self.vector[to] = result;
    }

    /// Whether lanes that may be active have the same value.
    fn is_uniform(&self, operand: Option<&Operand>, possible: u64) -> bool {
        let Some(operand) = operand else { return false };
        let mut lanes = (0..LANES).filter(|lane| possible >> lane & 1 == 1);
        let first = lanes.next().and_then(|lane| self.lane(operand, lane));
        first.is_some() && lanes.all(|lane| self.lane(operand, lane) == first)
    }

    fn compared(&self, compared: &str, operands: &[Operand], possible: u64) -> Bits {
        let mut result = Bits::UNKNOWN;
        let [Some(a), Some(b)] = [operands.first(), operands.get(1)] else {
            return result;
        };
        for lane in (0..LANES).filter(|lane| possible >> lane & 1 == 1) {
            let both = self.lane(a, lane).zip(self.lane(b, lane));
            if let Some(bit) = both.and_then(|(a, b)| compare(compared, a.into(), b.into())) {
                result.known |= 1 << lane;
                result.value |= u64::from(bit) << lane;
            }
        }
        result
    }
}

/// A comparison of whole numbers.
fn compare(how: &str, a: u64, b: u64) -> Option<bool> {
    let (how, of) = how.split_once('_')?;
    let order = match of {
        "u32" | "u64" => a.cmp(&b),
        "i32" => (a as i32).cmp(&(b as i32)),
        "i64" => (a as i64).cmp(&(b as i64)),
        _ => return None,
    };
    Some(match how {
        "eq" => order.is_eq(),
        "lg" | "ne" => order.is_ne(),
        "gt" => order.is_gt(),
        "ge" => order.is_ge(),
        "lt" => order.is_lt(),
        "le" => order.is_le(),
        _ => return None,
    })
}

type Operation = fn([Option<u32>; 3]) -> Option<u32>;

/// The operations over whole numbers that places are computed by, and those of a division by a reciprocal.
fn vector_operation(operation: &str) -> Option<Operation> {
    macro_rules! of {
        (|$a:ident| $value:expr) => {
            |[a, _, _]| {
                let $a = a?;
                Some($value)
            }
        };
        (|$a:ident, $b:ident| $value:expr) => {
            |[a, b, _]| {
                let ($a, $b) = (a?, b?);
                Some($value)
            }
        };
        (|$a:ident, $b:ident, $c:ident| $value:expr) => {
            |[a, b, c]| {
                let ($a, $b, $c) = (a?, b?, c?);
                Some($value)
            }
        };
    }
    Some(match operation {
        "mov_b32" => of!(|a| a),
        "not_b32" => of!(|a| !a),
        "bfrev_b32" => of!(|a| a.reverse_bits()),
        "cvt_f32_u32" => of!(|a| (a as f32).to_bits()),
        "cvt_u32_f32" => of!(|a| f32::from_bits(a) as u32),
        "rcp_iflag_f32" | "rcp_f32" => of!(|a| (1.0 / f32::from_bits(a)).to_bits()),
        "mul_f32" => of!(|a, b| (f32::from_bits(a) * f32::from_bits(b)).to_bits()),
        "add_nc_u32" | "add_u32" => of!(|a, b| a.wrapping_add(b)),
        "sub_nc_u32" | "sub_u32" => of!(|a, b| a.wrapping_sub(b)),
        "subrev_nc_u32" | "subrev_u32" => of!(|a, b| b.wrapping_sub(a)),
        "mul_lo_u32" => of!(|a, b| a.wrapping_mul(b)),
        "mul_hi_u32" => of!(|a, b| ((u64::from(a) * u64::from(b)) >> 32) as u32),
        "mul_u32_u24" => of!(|a, b| (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff)),
        "mad_u32_u24" => of!(|a, b, c| (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff).wrapping_add(c)),
        "lshlrev_b32" => of!(|a, b| b << (a & 31)),
        "lshrrev_b32" => of!(|a, b| b >> (a & 31)),
        "ashrrev_i32" => of!(|a, b| (b as i32 >> (a & 31)) as u32),
        "and_b32" => |[a, b, _]| match (a, b) {
            (Some(0), _) | (_, Some(0)) => Some(0),
            _ => Some(a? & b?),
        },
        "or_b32" => of!(|a, b| a | b),
        "xor_b32" => of!(|a, b| a ^ b),
        "min_u32" => of!(|a, b| a.min(b)),
        "max_u32" => of!(|a, b| a.max(b)),
        "min_i32" => of!(|a, b| (a as i32).min(b as i32) as u32),
        "max_i32" => of!(|a, b| (a as i32).max(b as i32) as u32),
        "add3_u32" => of!(|a, b, c| a.wrapping_add(b).wrapping_add(c)),
        "lshl_add_u32" => of!(|a, b, c| (a << (b & 31)).wrapping_add(c)),
        "add_lshl_u32" => of!(|a, b, c| a.wrapping_add(b) << (c & 31)),
        "lshl_or_b32" => of!(|a, b, c| a << (b & 31) | c),
        "and_or_b32" => of!(|a, b, c| a & b | c),
        "or3_b32" => of!(|a, b, c| a | b | c),
        "xor3_b32" => of!(|a, b, c| a ^ b ^ c),
        "xad_u32" => of!(|a, b, c| (a ^ b).wrapping_add(c)),
        "bfe_u32" => of!(|a, b, c| a >> (b & 31) & ((1u64 << (c & 31)) - 1) as u32),
        "bfi_b32" => of!(|a, b, c| a & b | !a & c),
        // Its result is chosen by a mask, not by values.
        "cndmask_b32" => |_| None,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::code::read;
    use super::*;

    fn dispatch(words: &[u32], workgroup: u32) -> Dispatch {
        Dispatch {
            uniforms: vec![None, Some(words.to_vec())],
            workgroup,
            groups: [4, 1],
        }
    }

    fn counted(text: &str, dispatch: &Dispatch) -> Result<(Cost, u64), String> {
        group(&read(text).unwrap(), dispatch)
    }

    /// Each element of a row by the lanes of a workgroup in turns; the length is a uniform's second word.
    const LOOP: &str = "BB0:\n\
        \ts_movk_i32 s3, 0x8000\n\
        \ts_load_dwordx4 s[8:11], s[2:3], 0x10\n\
        \ts_waitcnt lgkmcnt(0)\n\
        \ts_buffer_load_dword s0, s[8:11], 0x4\n\
        \ts_mov_b64 s[4:5], exec\n\
        BB1:\n\
        \tv_cmp_gt_u32_e32 vcc, s0, v0\n\
        \ts_and_b64 exec, exec, vcc\n\
        \ts_cbranch_execz BB3\n\
        BB2:\n\
        \tbuffer_load_dword v1, v0, s[8:11], 0 offen\n\
        \tv_exp_f32_e32 v1, v1\n\
        \tv_add_nc_u32_e32 v0, 64, v0\n\
        \ts_branch BB1\n\
        BB3:\n\
        \ts_mov_b64 exec, s[4:5]\n\
        \ts_endpgm\n";

    #[test]
    fn a_loop_turns_as_often_as_its_uniform_says() {
        // A comparison a turn and one at the end; in each turn 4 for the exponential and 1 for the place.
        for (len, turns, lanes) in [(64, 1, 64), (256, 4, 256), (100, 2, 100), (0, 0, 0)] {
            let (cost, most) = counted(LOOP, &dispatch(&[7, len], 64)).unwrap();
            assert_eq!(cost.turns, 6 * turns + 1, "{len}");
            assert_eq!(cost.read, 4 * lanes, "{len}");
            assert_eq!(most, cost.turns);
        }
    }

    #[test]
    fn waves_of_a_workgroup_are_counted_each() {
        // The second wave's lanes begin behind the end.
        let (cost, most) = counted(LOOP, &dispatch(&[7, 64], 128)).unwrap();
        assert_eq!((cost.turns, most), (7 + 1, 7));
        // Lanes that are not there read nothing.
        let (cost, _) = counted(LOOP, &dispatch(&[7, 64], 32)).unwrap();
        assert_eq!(cost.read, 4 * 32);
    }

    #[test]
    fn what_an_array_decides_is_executed_and_no_loops_end() {
        let skipped = "BB0:\n\
            \tbuffer_load_dword v1, v0, s[8:11], 0 offen\n\
            \tv_cmp_gt_f32_e32 vcc, 0, v1\n\
            \ts_and_saveexec_b64 s[0:1], vcc\n\
            \ts_cbranch_execz BB2\n\
            BB1:\n\
            \tv_rcp_f32_e32 v1, v1\n\
            BB2:\n\
            \ts_mov_b64 exec, s[0:1]\n\
            \ts_endpgm\n";
        let (cost, _) = counted(skipped, &dispatch(&[], 64)).unwrap();
        assert_eq!(cost.turns, 1 + 4);
        let endless = "BB0:\n\
            \tbuffer_load_dword v1, v0, s[8:11], 0 offen\n\
            \tv_cmp_gt_f32_e32 vcc, 0, v1\n\
            \ts_cbranch_vccnz BB0\n\
            \ts_endpgm\n";
        assert!(counted(endless, &dispatch(&[], 64)).is_err());
        assert!(counted("\tv_nop\n", &dispatch(&[], 64)).is_err());
    }

    #[test]
    fn the_number_of_workgroups_is_where_the_driver_puts_it() {
        let of = |text: &str| arguments(&read(text).unwrap());
        assert_eq!(of("\tv_mov_b32_e32 v0, s4\n\ts_endpgm\n"), (None, 3));
        let text = "\ts_mul_i32 s0, s3, s7\n\tv_mov_b32_e32 v0, s6\n\ts_endpgm\n";
        assert_eq!(of(text), (Some(3), 6));
        // What the program wrote itself is no argument.
        assert_eq!(
            of("\ts_mov_b32 s9, 1\n\tv_mov_b32_e32 v0, s9\n\ts_endpgm\n"),
            (None, 3)
        );
        let text = "\ts_lshl_b32 s0, s3, 6\n\ts_mul_i32 s1, s7, s0\n\ts_add_u32 s1, s1, s6\n\
                    \ts_cmp_eq_u32 s0, 0x100\n\ts_cbranch_scc0 BB1\n\tv_nop\nBB1:\n\ts_endpgm\n";
        // Four workgroups of 64.
        assert_eq!(counted(text, &dispatch(&[], 64)).unwrap().0.turns, 1);
    }

    #[test]
    fn bits_are_known_where_one_side_decides() {
        let unknown = Bits::UNKNOWN;
        let zero = Bits::of(0);
        assert_eq!(unknown.and(zero).any(64), Some(false));
        assert_eq!(unknown.or(Bits::of(1)).any(64), Some(true));
        assert_eq!(unknown.xor(zero).any(64), None);
        assert_eq!(unknown.and(Bits::of(6)).any(1), Some(false));
        assert_eq!(Bits::of(5).not().whole(32), Some(0xffff_fffa));
    }
}
