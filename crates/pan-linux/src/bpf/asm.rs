//! An assembler for the handful of instructions used here (RFC 9669), with named jump targets.

/// One instruction of 64 bits, as the kernel takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

impl Instruction {
    /// As it lies in memory.
    pub(crate) fn bytes(&self) -> [u8; 8] {
        let ([o0, o1], [i0, i1, i2, i3]) = (self.offset.to_ne_bytes(), self.immediate.to_ne_bytes());
        [self.code, self.registers, o0, o1, i0, i1, i2, i3]
    }
}

/// A register. The kernel returns results in `R0`, passes the context in `R1`, takes arguments in `R1` to
/// `R5` and keeps `R6` to `R9` over calls; `Frame` points behind 512 bytes of stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reg {
    R0 = 0,
    R1 = 1,
    R2 = 2,
    R3 = 3,
    R4 = 4,
    R5 = 5,
    R6 = 6,
    R7 = 7,
    R8 = 8,
    Frame = 10,
}

/// How much a load reads; the rest of the register becomes zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Byte = 0x10,
    Half = 0x08,
    Word = 0x00,
    Double = 0x18,
}

/// When a jump is taken; all comparisons are unsigned, of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Equal = 0x10,
    NotEqual = 0x50,
    Below = 0xa0,
    AnyBit = 0x40,
}

const LOAD_IMMEDIATE_DOUBLE: u8 = 0x18;
const LOAD_MEMORY: u8 = 0x61;
const STORE_MEMORY: u8 = 0x63;
const ATOMIC_DOUBLE: u8 = 0xdb;
const MOVE_IMMEDIATE: u8 = 0xb7;
const MOVE: u8 = 0xbf;
const ADD_IMMEDIATE: u8 = 0x07;
const AND_IMMEDIATE: u8 = 0x57;
const SHIFT_LEFT_IMMEDIATE: u8 = 0x67;
const JUMP: u8 = 0x05;
const JUMP_IMMEDIATE: u8 = 0x05;
const JUMP_REGISTER: u8 = 0x0d;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// `BPF_PSEUDO_MAP_FD` of linux/bpf.h: the immediate is a map's descriptor, the result the map.
const MAP: u8 = 1;
/// `BPF_PSEUDO_MAP_VALUE` of linux/bpf.h: the immediate is a map's descriptor, the result an address in
/// the map's only value.
const IN_MAP_VALUE: u8 = 2;

/// A program under construction.
#[derive(Debug, Default)]
pub(crate) struct Asm {
    code: Vec<Instruction>,
    labels: Vec<(&'static str, usize)>,
    jumps: Vec<(usize, &'static str)>,
}

impl Asm {
    pub(crate) fn set(&mut self, to: Reg, value: i32) -> &mut Self {
        self.push(MOVE_IMMEDIATE, to as u8, 0, 0, value)
    }

    pub(crate) fn copy(&mut self, to: Reg, from: Reg) -> &mut Self {
        self.push(MOVE, to as u8, from as u8, 0, 0)
    }

    pub(crate) fn add(&mut self, to: Reg, value: i32) -> &mut Self {
        self.push(ADD_IMMEDIATE, to as u8, 0, 0, value)
    }

    pub(crate) fn and(&mut self, to: Reg, mask: i32) -> &mut Self {
        self.push(AND_IMMEDIATE, to as u8, 0, 0, mask)
    }

    pub(crate) fn shift_left(&mut self, to: Reg, bits: i32) -> &mut Self {
        self.push(SHIFT_LEFT_IMMEDIATE, to as u8, 0, 0, bits)
    }

    /// The map behind the descriptor, for helpers.
    pub(crate) fn map(&mut self, to: Reg, map: i32) -> &mut Self {
        self.push(LOAD_IMMEDIATE_DOUBLE, to as u8, MAP, 0, map);
        self.push(0, 0, 0, 0, 0)
    }

    /// The address `offset` bytes into the only value of the array map behind the descriptor.
    pub(crate) fn map_value(&mut self, to: Reg, map: i32, offset: i32) -> &mut Self {
        self.push(LOAD_IMMEDIATE_DOUBLE, to as u8, IN_MAP_VALUE, 0, map);
        self.push(0, 0, 0, 0, offset)
    }

    pub(crate) fn load(&mut self, width: Width, to: Reg, from: Reg, offset: i16) -> &mut Self {
        self.push(LOAD_MEMORY | width as u8, to as u8, from as u8, offset, 0)
    }

    pub(crate) fn store(&mut self, width: Width, at: Reg, offset: i16, value: Reg) -> &mut Self {
        self.push(STORE_MEMORY | width as u8, at as u8, value as u8, offset, 0)
    }

    /// Adds a register to eight bytes of memory, atomically.
    pub(crate) fn add_to_memory(&mut self, at: Reg, offset: i16, value: Reg) -> &mut Self {
        self.push(ATOMIC_DOUBLE, at as u8, value as u8, offset, 0)
    }

    /// Calls a helper by its number in linux/bpf.h.
    pub(crate) fn call(&mut self, helper: i32) -> &mut Self {
        self.push(CALL, 0, 0, 0, helper)
    }

    pub(crate) fn jump(&mut self, label: &'static str) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.push(JUMP, 0, 0, 0, 0)
    }

    pub(crate) fn jump_if(&mut self, left: Reg, condition: Condition, right: i32, label: &'static str) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.push(JUMP_IMMEDIATE | condition as u8, left as u8, 0, 0, right)
    }

    pub(crate) fn jump_if_register(&mut self, left: Reg, condition: Condition, right: Reg, label: &'static str) -> &mut Self {
        self.jumps.push((self.code.len(), label));
        self.push(JUMP_REGISTER | condition as u8, left as u8, right as u8, 0, 0)
    }

    /// Names the next instruction.
    pub(crate) fn label(&mut self, name: &'static str) -> &mut Self {
        self.labels.push((name, self.code.len()));
        self
    }

    pub(crate) fn exit(&mut self) -> &mut Self {
        self.push(EXIT, 0, 0, 0, 0)
    }

    /// The finished program.
    pub(crate) fn finish(&mut self) -> Vec<Instruction> {
        let mut code = std::mem::take(&mut self.code);
        for (at, wanted) in &self.jumps {
            let target = self.labels.iter().find(|(name, _)| name == wanted).expect("every jump has its label").1;
            // Relative to the instruction after the jump.
            let distance = target as i64 - *at as i64 - 1;
            code[*at].offset = i16::try_from(distance).expect("programs here are short");
        }
        code
    }

    fn push(&mut self, code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> &mut Self {
        // Two bit fields in one byte: their order is the machine's.
        let registers = if cfg!(target_endian = "little") { from << 4 | to } else { to << 4 | from };
        self.code.push(Instruction { code, registers, offset, immediate });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_reach_their_labels_in_both_directions() {
        let mut asm = Asm::default();
        asm.jump_if(Reg::R1, Condition::Equal, 7, "end").label("back").set(Reg::R0, 1).jump("back").label("end").exit();
        let code = asm.finish();
        let offsets: Vec<i16> = code.iter().map(|instruction| instruction.offset).collect();
        assert_eq!(offsets, [2, 0, -2, 0]);
    }

    #[test]
    fn bytes_are_those_of_the_standard() {
        let mut asm = Asm::default();
        asm.load(Width::Double, Reg::R1, Reg::R7, 8).add_to_memory(Reg::R7, 8, Reg::R1);
        let code = asm.finish();
        // From `llvm-objdump`: 79 71 08 00 …: r1 = *(u64 *)(r7 + 8); db 17 08 00 …: lock *(u64 *)(r7 + 8) += r1.
        assert_eq!((code[0].code, code[0].offset), (0x79, 8));
        assert_eq!((code[1].code, code[1].offset), (0xdb, 8));
        if cfg!(target_endian = "little") {
            assert_eq!((code[0].registers, code[1].registers), (0x71, 0x17));
        }
    }
}
