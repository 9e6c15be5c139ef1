package codegen

import (
	"math"

	"github.com/hopgate/hopgate/compiler"
)

// The table form is one fixed program, the engine, and a policy as the values of maps,
// its sheets: one, and more where one has no room for it. The layout of those is the
// contract of the two; docs/table-form.md has it as a picture. Numbers are little-endian
// u32 unless said otherwise.
const (
	TableVersion = 4 // of the layout; an engine denies everything by a table of another one

	// TableValueSize is the size of a sheet, in bytes: its part of the nodes, with the
	// header in the room of the first ones, and of the description, which follows them;
	// then, used in the first sheet alone, the counters.
	TableValueSize = TableCounters + 8*tableRules
	TableCounters  = sheetNodes * tableNodeSize // place of the u64 counters by rule

	// TablePage is the size of the values that hold the table on Windows: eBPF for Windows
	// takes and gives values of less than 64 KB (ebpf_operation_header_t in ebpf_protocol.h
	// has their length as a u16).
	TablePage = 1 << pageBits
	pageBits  = 15

	sheetNodes    = 1 << 15
	tableNodes    = MaxTableSheets * sheetNodes
	tableNodeSize = 64
	tableRules    = 1 << 17

	// tableTextSize bounds a description, u32 length and compressed JSON, that has the text
	// of the policy; a longer one goes without.
	tableTextSize = 1 << 20
)

// TableMagic is the first number of a table: "HGPT", or "HGPL" of one for Linux.
func TableMagic(t Target) uint32 {
	if t == Linux {
		return 0x4c504748
	}
	return 0x54504748
}

// Limits of what fits in a table.
const (
	MaxTableSheets  = 16
	MaxTableNodes   = tableNodes - tableHeaderSize/tableNodeSize
	MaxTableRules   = tableRules - 1 // the default is one more
	MaxTableSteps   = 256            // nodes on the longest way through a list of trees, and one for each tree
	MaxTableTrees   = 8              // of a list
	MaxTableSets    = 64             // that a policy has
	MaxTableAnswers = 12             // pairs of a dynamic set and a field that is looked up in it, and interfaces looked up by name
)

// The header.
const (
	headerMagic      = 0
	headerVersion    = 4
	headerFlags      = 8
	headerRules      = 12   // how many, the default included
	headerTrees      = 16   // by tableList, each of tableListTrees entries: root, and the reference to the lowest leaf it leads to; those with lower ones first
	headerNodes      = 1040 // how many
	headerHook       = 1044 // compiler.Hook
	headerNetwork    = 1048 // u64 cookie of the network namespace that the interfaces are in
	headerPolicyHash = 1056 // SHA-256 of the policy
	headerChecksum   = 1088 // SHA-256 of header, nodes and description, with zeros for what is set at loading
	headerSetBase    = 1120 // key of the first set's table in the map of sets; set at loading, as the next
	headerGeneration = 1124 // counts the policies that were loaded
	headerSets       = 1128 // entries used of headerSetList
	headerInterfaces = 1132 // entries used of headerIfindex
	headerIfindex    = 1136 // of the named interfaces, by number; 0 for one that is not there
	headerSheets     = 1184 // what is added to a later sheet's number for its key in TableMap; set at loading
	headerSetList    = 1248 // what is looked up in which set: the last answer first
	tableHeaderSize  = 1536

	tableSetSize   = 16 // slots of the lower and upper word, key from the set base, 1 for an address
	tableTreeSize  = 8
	tableListTrees = 16 // entries of a list; the rest are treeEnd
	tableTreesMask = tableLists*tableListTrees*tableTreeSize - tableTreeSize
	tableListShift = 7 // a list is 128 bytes
)

// loadedFields are the parts of the header that are set at loading, as places and
// lengths: no checksum covers them.
var loadedFields = [...][2]int{{headerNetwork, 8}, {headerChecksum, 32}, {headerSetBase, 8}, {headerIfindex, 4*MaxTableAnswers + 4}}

// tableList names a list of trees: those that judge connections of one family,
// in the stages that see all fields or in the early ones of Linux, and those for
// audit rules.
type tableList int

const (
	tableIPv4 tableList = iota
	tableIPv6

	tableAudit = 2 // from a list to that of the audit rules
	tableEarly = 4 // from a list to that of the early stages
	tableLists = 8
)

const (
	flagContext    = 1 // some node reads the network context
	flagAuditMode  = 2 // count and log, but answer allow
	flagNoCounters = 4
	flagAudit      = 8 // there are audit rules
)

// A node is one cache line: u32 last[2][3], u64 cells, u32 kid[8]. Of 16 cells of 4 bits,
// that one says which kid is meant whose number is four times how many of last[0] the value
// of the first slot is above, and how many of last[1] that of the second; a cell's highest
// bit counts for nothing. last is ^0 where there are fewer numbers.
//
// A reference to a node is its number, counted in nodes from the start of the value, and
// the two slots to look at; it is always larger than the one it is found under. A reference
// with bit 31 is a leaf (leafValue). 0 is no reference.
const (
	tableLasts = 3
	tableCells = (tableLasts + 1) * (tableLasts + 1)
	tableKids  = 8
	nodeCells  = 4 * 2 * tableLasts
	nodeKids   = nodeCells + tableCells/2

	refLeaf      = 1 << 31
	refSlotMask  = tableSlots - 1
	refSecond    = 2 // bit where the second slot begins
	refFirst     = refSecond + 5
	refNode      = refFirst + 5
	refPlace     = refNode - 6 // shifted to the right by so much, the number is the place in bytes
	refPlaceMask = (sheetNodes - 1) * tableNodeSize
	refSheet     = refNode + 15 // bit where the number of the sheet begins

	treeEnd = math.MaxUint32 // the root where there is no further tree

	noLeaf        = refLeaf - 1 - leafLog // after every leaf, before treeEnd
	undecidedLeaf = leafVerdict           // before every leaf: an early stage leaves the decision to a later one
)

// A slot is 4 bytes of the engine's stack: a number in host byte order. A LUID has
// two, the lower word first; an address has four, the highest first, of which IPv4
// has only the last.
type tableSlot uint8

const (
	slotInterfaceType tableSlot = 0
	slotTunnelType    tableSlot = 1
	slotSubInterface  tableSlot = 2
	slotCompartment   tableSlot = 3
	slotNextHop       tableSlot = 4 // and 5
	slotInterface     tableSlot = 6 // and 7
	slotProtocol      tableSlot = 8
	slotZero          tableSlot = 9
	slotRemotePort    tableSlot = 10
	slotLocalPort     tableSlot = 11
	slotRemote        tableSlot = 12                           // to 15
	slotLocal         tableSlot = 16                           // to 19
	slotAnswers       tableSlot = tableSlots - MaxTableAnswers // 1 if the value is in the set, by number; from the last one down, 1 if the device is the interface
)

const tableSlots = 32

// words gives the slots of a variable that is no answer: of the lower half, and of
// the upper one, slotZero for a variable of 32 bits.
func words(v compiler.Var) (low, high tableSlot) {
	switch v.Field {
	case compiler.InterfaceType:
		return slotInterfaceType, slotZero
	case compiler.TunnelType:
		return slotTunnelType, slotZero
	case compiler.SubInterface:
		return slotSubInterface, slotZero
	case compiler.Compartment:
		return slotCompartment, slotZero
	case compiler.NextHop:
		return slotNextHop, slotNextHop + 1
	case compiler.Interface:
		return slotInterface, slotInterface + 1
	case compiler.Protocol:
		return slotProtocol, slotZero
	case compiler.RemotePort:
		return slotRemotePort, slotZero
	case compiler.LocalPort:
		return slotLocalPort, slotZero
	case compiler.RemoteAddress:
		return addressWords(slotRemote, v.Part)
	case compiler.LocalAddress:
		return addressWords(slotLocal, v.Part)
	}
	panic("codegen: no slot for " + v.String())
}

func addressWords(first tableSlot, part compiler.Part) (low, high tableSlot) {
	switch part {
	case compiler.High64:
		return first + 1, first
	case compiler.Low64:
		return first + 3, first + 2
	}
	return first + 3, slotZero
}

// Stack of the engine: in entry points the table, below that of all other programs;
// then, or in a function of its own, what a decision needs.
const (
	stackTable = stackOption - 8

	engineSlots     = -4 * tableSlots
	engineTree      = engineSlots - 8     // u64: place of the next entry of the list
	engineAuditTree = engineTree - 8      // the same of audit rules
	engineLeaf      = engineAuditTree - 8 // the rule that decided, while audit rules are looked for
	engineWide      = engineLeaf - 8      // u64: 1 if the connection is an IPv6 one

	// On Windows also the map of the table's pages, and what a walk has no register for.
	enginePages   = engineWide - 8
	engineContext = enginePages - 8
	engineRounds  = engineContext - 8
	enginePageOne = engineRounds - 16 // u64 number of the page that the one tree's walk is in, and its address
	enginePageTwo = enginePageOne - 16
)

// TableMap is the engine's array of maps, by compiler.Hook, that leads to the first sheet
// of the policy in force, and from TableSheetKey on to the others. The tables of its sets
// are in SetsMap.
const TableMap = "hopgate_policy"
