package codegen

import "github.com/hopgate/hopgate/compiler"

// The table form is one fixed program, the engine, and a policy as the value of a
// map. The layout of that value is the contract of the two; docs/table-form.md has
// it as a picture. Numbers are little-endian u32 unless said otherwise.
const (
	TableMagic   = 0x54504748 // "HGPT"
	TableVersion = 1          // of the layout; an engine denies everything by a table of another one

	// TableValueSize is the size of the value, in bytes: nodes with the header in
	// the room of the first ones, counters, and the description.
	TableValueSize = tableDescription + tableDescriptionSize
	TableCounters  = tableNodes * tableNodeSize // place of the u64 counters by rule

	tableNodes           = 1 << 17 // of 16 bytes; the header takes the first
	tableNodeSize        = 16
	tableFirstNode       = tableHeaderSize / tableNodeSize
	tableRules           = 1 << 16
	tableDescription     = TableCounters + 8*tableRules // u32 length, then compressed JSON
	tableDescriptionSize = 1 << 20
)

// Limits of what fits in a table.
const (
	MaxTableNodes = tableNodes - tableFirstNode
	MaxTableRules = tableRules - 1 // the default is one more
	MaxTableSteps = 256            // nodes on the longest way through a list of trees, and one for each tree
	MaxTableTrees = 8              // of a list
	MaxTableSets  = 16             // pairs of a dynamic set and a field that is looked up in it

	MaxTablePrefixes = 1 << 16 // of all dynamic sets when the policy starts, and one for each set
)

// The header.
const (
	headerMagic      = 0
	headerVersion    = 4
	headerFlags      = 8
	headerRules      = 12 // how many, the default included
	headerNodes      = 16 // how many
	headerSetBase    = 20 // number of the first set in the sets' map
	headerSets       = 24 // entries used of headerSetList
	headerGeneration = 28 // counts the policies that were loaded
	headerStart      = 32 // u32 by tableList: the first entry of the list
	headerZero       = 60 // zero
	headerPolicyHash = 64 // SHA-256 of the policy
	headerChecksum   = 96 // SHA-256 of nodes and header, with zeros here and for set base and generation
	headerSetList    = 128
	headerTrees      = 384 // 8 bytes each: root, and the lowest leaf it leads to; those with lower ones first
	tableHeaderSize  = 896

	tableSetSize   = 16 // places of the field's halves, number from the set base, zero
	tableTreeSize  = 8
	tableListTrees = 16 // entries of a list, the first of zeros not included
	tableTreesMask = tableLists*tableListTrees*tableTreeSize - tableTreeSize
)

// tableList names a list of trees: those that judge connections of one family, or
// those for audit rules.
type tableList int

const (
	tableIPv4 tableList = iota
	tableIPv6
	tableLists = iota + 2

	tableAudit = 2 // from a list to that of the audit rules
)

const (
	flagContext    = 1 // some node reads the network context
	flagAuditMode  = 2 // count and log, but answer allow
	flagNoCounters = 4
	flagAudit      = 8 // there are audit rules
)

// A node is {u64 cut; u32 low; u32 high}: values below the cut go to low, others to
// high. A reference to a node has its number in bits 8 to 30 and in bits 3 to 7 the
// slot to compare there; numbers only grow on a way through a tree. A reference with bit 31
// is a leaf (leafValue). 0 is no reference.
const (
	refLeaf       = 1 << 31
	refShift      = 8
	refSlotMask   = 0xf8
	refToOffset   = refShift - 4 // bits to shift a reference by to have a node's offset, once masked
	refOffsetMask = (tableNodes - 1) * tableNodeSize

	noLeaf = refLeaf - 1 // after every leaf
)

// A slot is 8 bytes of the engine's stack: a value in host byte order. Addresses
// have two, IPv4 in IPv4-mapped form.
type tableSlot uint8

const (
	slotInterfaceType tableSlot = iota
	slotTunnelType
	slotNextHop
	slotSubInterface
	slotInterface
	slotRemoteHigh
	slotRemoteLow
	slotLocalHigh
	slotLocalLow
	slotRemotePort
	slotLocalPort
	slotProtocol
	slotCompartment
	slotZero
	slotSets   tableSlot = 16 // not 0 if the value is in the set, by entry of headerSetList
	tableSlots tableSlot = 32
)

// slotOf gives the slot of a variable that is no set's.
func slotOf(v compiler.Var) tableSlot {
	switch v.Field {
	case compiler.InterfaceType:
		return slotInterfaceType
	case compiler.TunnelType:
		return slotTunnelType
	case compiler.NextHop:
		return slotNextHop
	case compiler.SubInterface:
		return slotSubInterface
	case compiler.Interface:
		return slotInterface
	case compiler.RemoteAddress:
		return addressSlot(slotRemoteHigh, v.Part)
	case compiler.LocalAddress:
		return addressSlot(slotLocalHigh, v.Part)
	case compiler.RemotePort:
		return slotRemotePort
	case compiler.LocalPort:
		return slotLocalPort
	case compiler.Protocol:
		return slotProtocol
	case compiler.Compartment:
		return slotCompartment
	}
	panic("codegen: no slot for " + v.String())
}

func addressSlot(high tableSlot, part compiler.Part) tableSlot {
	if part == compiler.High64 {
		return high
	}
	return high + 1
}

// mappedLow is what an IPv4-mapped address has above the IPv4 one in its low
// half.
const mappedLow = 0xffff_0000_0000

// Stack of the engine, below that of all other programs.
const (
	stackSlots     = stackOption - 8*int16(tableSlots)
	stackTree      = stackSlots - 8 // u64: place of the next entry of the list
	stackAuditTree = stackTree - 8  // the same of audit rules
)

// Names of the engine's maps.
const (
	TableMap     = "hopgate_policy" // array of maps, by compiler.Hook: the policy in force
	TableSetsMap = "hopgate_sets"   // LPM trie: the dynamic sets of all policies
)
