package vm

// op is what an instruction does. Where the ISA has a form with a register and
// one with a constant, there is one op: the second operand is always
// source register + constant, of which one is 0.
type op uint8

const (
	opFiller op = iota // second slot of opLoadImm; never executed

	opAdd64 // dst op= operand
	opSub64
	opMul64
	opDiv64
	opSDiv64
	opMod64
	opSMod64
	opOr64
	opAnd64
	opXor64
	opLsh64
	opRsh64
	opArsh64
	opMov64
	opMovSX8
	opMovSX16
	opMovSX32
	opNeg64
	opLoadImm // mov, and skips its second slot

	opAdd32 // the same on the low halves, the high half becomes 0
	opSub32
	opMul32
	opDiv32
	opSDiv32
	opMod32
	opSMod32
	opOr32
	opAnd32
	opXor32
	opLsh32
	opRsh32
	opArsh32
	opMov32
	opMovSX8w
	opMovSX16w
	opNeg32

	opTruncate16 // to little endian; that of 32 bits is opMov32 on itself
	opNothing    // and that of 64 bits
	opSwap16
	opSwap32
	opSwap64

	opJump // to off
	opEq64 // jump if dst op operand
	opNe64
	opGt64
	opGe64
	opLt64
	opLe64
	opSet64
	opSGt64
	opSGe64
	opSLt64
	opSLe64
	opEq32 // the same on the low halves
	opNe32
	opGt32
	opGe32
	opLt32
	opLe32
	opSet32
	opSGt32
	opSGe32
	opSLt32
	opSLe32

	opLoad8 // dst = memory at operand
	opLoad16
	opLoad32
	opLoad64
	opLoadSX8
	opLoadSX16
	opLoadSX32
	opStore8 // memory at dst+off = operand
	opStore16
	opStore32
	opStore64
	opAtomic32 // on memory at dst+off with src; imm says what
	opAtomic64

	opCall     // local function at off
	opHelper   // helper number imm of the program
	opTailCall // helper 5
	opExit
)

// insn is one decoded slot.
type insn struct {
	imm      uint64
	off      int32 // memory offset, or the slot to jump to
	op       op
	dst, src uint8
}

// zeroRegister is the source of instructions without one.
const zeroRegister = 11

// writes says whether an op changes its destination register.
func (o op) writes() bool {
	return o >= opAdd64 && o <= opSwap64 || o >= opLoad8 && o <= opLoadSX32
}

// jumps says whether an op may go on at off, within its function.
func (o op) jumps() bool { return o >= opJump && o <= opSLe32 }
