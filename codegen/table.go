package codegen

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/hopgate/hopgate/compiler"
)

// Table is a policy in the table form: what the maps of an engine hold. It is plain
// data and does not change.
type Table struct {
	Target     Target
	Hook       compiler.Hook
	PolicyHash [32]byte // SHA-256 of the policy, as Policy.String
	SetTables  []TableSetTable

	image       []byte // nodes with the header, up to the last node
	description []byte // TableDescription, compressed
}

// TableSetTable is the table of a dynamic set that the policy starts with.
type TableSetTable struct {
	Key    uint32 // in SetsMap, from TableSetBase
	Blocks []byte // as SetTable makes them
}

// TableDescription is what a table says of itself.
type TableDescription struct {
	Policy     string          `json:"policy"`         // the policy's name
	Text       string          `json:"text,omitempty"` // of the policy, as Policy.String; "" if it is too long to keep
	Steps      [tableLists]int `json:"steps"`          // on the longest way: IPv4, IPv6, both for audit rules, and all that for early stages
	Rules      []Rule          `json:"rules"`          // by counter; the last is the default
	Sets       []Set           `json:"sets,omitempty"` // dynamic ones, by number
	Interfaces []Interface     `json:"interfaces,omitempty"`
	Build      Build           `json:"build"`
}

// GenerateTable turns a diagram into a table. The error names the limit that it
// does not fit in. Of the options, Target and NoCounters count.
func GenerateTable(d *compiler.Diagram, opts *Options, build Build) (*Table, error) {
	if opts == nil {
		opts = &Options{}
	}
	p := d.Policy
	if opts.Target == Linux {
		if err := onlyConnect(p); err != nil {
			return nil, err
		}
	}
	about := &TableDescription{
		Policy: p.Name, Text: p.String(), Rules: rules(p), Sets: sets(p), Build: build,
	}
	b := &tableBuilder{diagram: d, target: opts.Target, tableTrees: newTableTrees()}
	if hasAudit(p) {
		if err := b.compileAudit(); err != nil {
			return nil, err
		}
	}
	lists, err := b.allLists(&about.Steps)
	if err != nil {
		return nil, err
	}
	for _, limit := range []struct {
		err      error
		what     string
		n, limit int
	}{
		{ErrTooLarge, "rules", len(p.Rules), MaxTableRules},
		{ErrTooLarge, "dynamic sets", len(p.Sets), MaxTableSets},
		{ErrTooLarge, "fields looked up in dynamic sets and interfaces looked up by name", b.answers(), MaxTableAnswers},
		{ErrLargeTrees, "nodes", len(b.nodes), MaxTableNodes},
	} {
		if limit.n > limit.limit {
			return nil, tooLarge(limit.err, p, limit.what, limit.n, limit.limit)
		}
	}
	for _, i := range b.interfaces {
		about.Interfaces = append(about.Interfaces, Interface{Name: i.Name, Kind: i.Kind, Value: i.Value})
	}
	t := &Table{Target: opts.Target, Hook: p.Hook, PolicyHash: sha256.Sum256([]byte(about.Text))}
	about.Build.PolicySHA256 = fmt.Sprintf("%x", t.PolicyHash)
	if t.SetTables, err = tablesOf(p, opts.Target); err != nil {
		return nil, err
	}
	if t.description, err = about.compressed(); err != nil {
		return nil, err
	}
	b.arrange(&lists)
	t.image = b.image(t, lists, opts)
	if room := t.room(); len(t.description) > room {
		return nil, tooLarge(ErrTooLarge, p, "bytes of rule names", len(t.description), room)
	}
	sum := t.checksum()
	copy(t.image[headerChecksum:], sum[:])
	return t, nil
}

// ErrLargeTrees is ErrTooLarge where smaller trees of the same policy may not be.
var ErrLargeTrees = fmt.Errorf("%w", ErrTooLarge)

func tooLarge(err error, p *compiler.Policy, what string, n, limit int) error {
	return fmt.Errorf("policy `%s` is %w for form table: it needs %d %s, the limit is %d [too-large]: use form code, or split the policy",
		p.Name, err, n, what, limit)
}

// tablesOf makes the tables of a policy's sets.
func tablesOf(p *compiler.Policy, target Target) ([]TableSetTable, error) {
	var tables []TableSetTable
	for i, s := range p.Sets {
		for _, ipv6 := range SetFamilies(s.Field) {
			blocks, err := SetTable(s.Field, s.Ranges, ipv6)
			if err != nil {
				return nil, fmt.Errorf("set `%s`: %w", s.Name, err)
			}
			if n := len(blocks) / tableBlock; target == Windows && n > windowsSetBlocks {
				return nil, tooLarge(ErrTooLarge, p, "blocks of 64 bytes for set `"+s.Name+"`", n, windowsSetBlocks)
			}
			tables = append(tables, TableSetTable{SetKey(i, ipv6), blocks})
		}
	}
	return tables, nil
}

// tableBuilder lowers the graphs of a diagram.
type tableBuilder struct {
	tableTrees
	diagram *compiler.Diagram
	target  Target
	audit   *compiler.Diagram // of the audit rules alone, as if enforced; nil without
	rules   []int             // of audit's rules: the index in the policy
}

// compileAudit makes trees of the audit rules, which are fewer steps deep than the
// chain that the diagram has.
func (b *tableBuilder) compileAudit() (err error) {
	p := *b.diagram.Policy
	p.Rules = nil
	for i, r := range b.diagram.Policy.Rules {
		if r.Audit {
			r.Audit = false
			p.Rules = append(p.Rules, r)
			b.rules = append(b.rules, i)
		}
	}
	b.audit, err = compiler.Compile(&p, &compiler.CompileOptions{FreeInterfaces: b.target == Linux})
	return err
}

type listRoots [tableLists][]tableTarget

// allLists lowers the trees of every list, and notes how many steps they take.
func (b *tableBuilder) allLists(steps *[tableLists]int) (lists listRoots, err error) {
	p := b.diagram.Policy
	leaf := func(rule int) int32 { return leafValue(p, rule) }
	auditLeaf := func(rule int) int32 {
		if rule == len(b.rules) {
			return noLeaf // no audit rule: after every rule
		}
		return leafValue(p, b.rules[rule])
	}
	for l, g := range []*compiler.Graph{&b.diagram.IPv4, &b.diagram.IPv6} {
		lists[l] = b.add(g, g.Trees, leaf)
		if b.audit != nil {
			g = []*compiler.Graph{&b.audit.IPv4, &b.audit.IPv6}[l]
			lists[l+int(tableAudit)] = b.add(g, g.Trees, auditLeaf)
		}
	}
	if b.target == Linux {
		b.earlyLists(&lists)
	}
	lowest := b.lowest()
	for l, list := range lists {
		if len(list) > MaxTableTrees {
			return lists, tooLarge(ErrLargeTrees, p, "trees", len(list), MaxTableTrees)
		}
		slices.SortStableFunc(list, func(x, y tableTarget) int { return int(lowest(x)) - int(lowest(y)) })
		if steps[l] = b.steps(list); steps[l] > MaxTableSteps {
			return lists, tooLarge(ErrLargeTrees, p, "steps", steps[l], MaxTableSteps)
		}
	}
	return lists, nil
}

// earlyLists are those of the stages before route selection. Where they would take too
// many steps those stages decide nothing.
func (b *tableBuilder) earlyLists(lists *listRoots) {
	p := b.diagram.Policy
	early := b.diagram.Without(notYetKnown...)
	leaf := func(rule int) int32 {
		if rule == p.Undecided() {
			return undecidedLeaf
		}
		return leafValue(p, rule)
	}
	auditLeaf := func(rule int) int32 {
		if rule == len(p.Rules) {
			return noLeaf
		}
		return leaf(rule)
	}
	for l, g := range []*compiler.Graph{&early.IPv4, &early.IPv6} {
		l += int(tableEarly)
		lists[l] = b.add(g, g.Trees, leaf)
		if b.audit != nil {
			lists[l+int(tableAudit)] = b.add(g, []compiler.NodeID{g.Audit}, auditLeaf)
		}
		if b.steps(lists[l]) > MaxTableSteps || b.steps(lists[l+int(tableAudit)]) > MaxTableSteps {
			lists[l] = []tableTarget{toLeaf(undecidedLeaf)}
			lists[l+int(tableAudit)] = nil
		}
	}
}

// image writes header and nodes.
func (b *tableBuilder) image(t *Table, lists listRoots, opts *Options) []byte {
	image := make([]byte, tableHeaderSize+len(b.nodes)*tableNodeSize)
	put := binary.LittleEndian.PutUint32
	flags := uint32(0)
	set := func(flag uint32, on bool) {
		if on {
			flags |= flag
		}
	}
	p := b.diagram.Policy
	set(flagAuditMode, p.AuditMode)
	set(flagNoCounters, opts.NoCounters)
	set(flagContext, b.readsContext())
	set(flagAudit, b.audit != nil)
	put(image[headerMagic:], TableMagic(t.Target))
	put(image[headerVersion:], TableVersion)
	put(image[headerFlags:], flags)
	put(image[headerRules:], uint32(len(p.Rules)+1))
	put(image[headerNodes:], uint32(len(b.nodes)))
	put(image[headerHook:], uint32(t.Hook))
	put(image[headerSets:], uint32(len(b.sets)))
	put(image[headerInterfaces:], uint32(len(b.interfaces)))
	copy(image[headerPolicyHash:], t.PolicyHash[:])
	for i, s := range b.sets {
		at := image[headerSetList+(len(b.sets)-1-i)*tableSetSize:]
		v := compiler.Var{Field: s.field}
		if s.set.Field == compiler.RemoteAddress {
			v.Part = compiler.Low64
			put(at[12:], 1)
		}
		low, high := words(v)
		put(at, uint32(low))
		put(at[4:], uint32(high))
		put(at[8:], SetKey(slices.Index(p.Sets, s.set), false))
	}
	lowest := b.lowest()
	for l, list := range lists {
		start := l << tableListShift
		for i := range tableListTrees {
			at := image[headerTrees+start+i*tableTreeSize:]
			put(at, treeEnd)
			put(at[4:], treeEnd)
			if i < len(list) {
				put(at, b.reference(list[i]))
				put(at[4:], refLeaf|uint32(lowest(list[i])))
			}
		}
	}
	for i := range b.nodes {
		b.nodes[i].put(image[b.place(i):][:tableNodeSize], b.reference)
	}
	return image
}

// readsContext reports whether some node or set needs the network context.
func (b *tableBuilder) readsContext() bool {
	c := sockAddr(b.diagram.Policy.Hook)
	if b.target == Linux {
		c = flow
	}
	for _, s := range b.sets {
		if c.fromContext(s.field) {
			return true
		}
	}
	for f := range compiler.Field(compiler.NumFields) {
		if !c.fromContext(f) {
			continue
		}
		low, high := words(compiler.Var{Field: f})
		if slices.ContainsFunc(b.nodes, func(n tableNode) bool { return slices.Contains(n.slots[:], low) || slices.Contains(n.slots[:], high) }) {
			return true
		}
	}
	return false
}

// checksum is that of all but what is set at loading.
func (t *Table) checksum() [32]byte {
	header := bytes.Clone(t.image[:tableHeaderSize])
	for _, f := range loadedFields {
		clear(header[f[0]:][:f[1]])
	}
	h := sha256.New()
	h.Write(header)
	h.Write(t.image[tableHeaderSize:])
	h.Write(t.description)
	return [32]byte(h.Sum(nil))
}

// TableLoading is what a table is told when it is loaded.
type TableLoading struct {
	Generation uint32          // counts the policies that the engine was given for the hook
	Network    uint64          // cookie of the namespace that the interfaces are in
	Interfaces []uint32        // ifindex by TableDescription.Interfaces; 0 for one that is not there
	Sets       []TableSetTable // instead of the table's own
}

// TablePart is what stands at a place of the sheets, one after the other. All other bytes
// are zero.
type TablePart struct {
	At   int
	Data []byte
}

// Parts are the sheets for the policy, with counters of zero.
func (t *Table) Parts(l *TableLoading) []TablePart {
	header := bytes.Clone(t.image[:tableHeaderSize])
	put := binary.LittleEndian.PutUint32
	put(header[headerSetBase:], TableSetBase(t.Hook, l.Generation))
	put(header[headerSheets:], TableSheetKey(t.Hook, l.Generation, 1)-1)
	put(header[headerGeneration:], l.Generation)
	binary.LittleEndian.PutUint64(header[headerNetwork:], l.Network)
	for i, index := range l.Interfaces[:min(len(l.Interfaces), MaxTableAnswers)] {
		put(header[headerIfindex+4*i:], index)
	}
	var parts []TablePart
	at := 0
	length := binary.LittleEndian.AppendUint32(nil, uint32(len(t.description)))
	for _, data := range [][]byte{header, t.image[tableHeaderSize:], length, t.description} {
		for len(data) > 0 {
			n := min(len(data), TableCounters-at%TableCounters)
			parts = append(parts, TablePart{at/TableCounters*TableValueSize + at%TableCounters, data[:n]})
			at, data = at+n, data[n:]
		}
	}
	return parts
}

// room is how long a description may be.
func (t *Table) room() int { return tableNodes*tableNodeSize - len(t.image) - 4 }

// JoinParts gives the sheets in one piece.
func JoinParts(parts []TablePart) []byte {
	value := make([]byte, len(TableSheets(parts))*TableValueSize)
	for _, p := range parts {
		copy(value[p.At:], p.Data)
	}
	return value
}

// TableSheets gives the parts by sheet, with their places there.
func TableSheets(parts []TablePart) (sheets [][]TablePart) {
	for _, p := range parts {
		for at, data := p.At, p.Data; len(data) > 0; {
			sheet, place := at/TableValueSize, at%TableValueSize
			n := min(len(data), TableValueSize-place)
			for len(sheets) <= sheet {
				sheets = append(sheets, nil)
			}
			sheets[sheet] = append(sheets[sheet], TablePart{place, data[:n]})
			at, data = at+n, data[n:]
		}
	}
	return sheets
}

// TablePages gives the values of a sheet's map on Windows, by page; those left out are
// zero.
func TablePages(parts []TablePart) map[uint32][]byte {
	pages := map[uint32][]byte{}
	for _, p := range parts {
		for at, data := p.At, p.Data; len(data) > 0; {
			page := pages[uint32(at/TablePage)]
			if page == nil {
				page = make([]byte, TablePage)
				pages[uint32(at/TablePage)] = page
			}
			n := copy(page[at%TablePage:], data)
			at, data = at+n, data[n:]
		}
	}
	return pages
}

// TableGeneration is the generation of a table's value; 0 without one.
func TableGeneration(value []byte) uint32 {
	if len(value) < headerGeneration+4 {
		return 0
	}
	return binary.LittleEndian.Uint32(value[headerGeneration:])
}

// NamesInterfaces reports whether the description has interfaces.
func (t *Table) NamesInterfaces() bool {
	return binary.LittleEndian.Uint32(t.image[headerInterfaces:]) > 0
}

// TableIfindexAt is the place of the ifindex of an interface in the value.
func TableIfindexAt(number int) int { return headerIfindex + 4*number }

// Places in the value of the u32 generation, and of the u64 cookie of the namespace that
// the interfaces are in.
const (
	TableGenerationAt = headerGeneration
	TableNetworkAt    = headerNetwork
)

// TableSetBase is the key of a policy's first set in SetsMap. Only every other policy of
// a hook has the same.
func TableSetBase(hook compiler.Hook, generation uint32) uint32 {
	return (2*uint32(hook) + generation&1) * TableSetKeys
}

// TableSetKeys is how many keys in SetsMap a policy may have, from TableSetBase.
const TableSetKeys = 2 * MaxTableSets

// TableSheetKey is the key of a policy's sheet in TableMap. Only every other policy of a
// hook has the same, but for the first sheet, which leads to the others.
func TableSheetKey(hook compiler.Hook, generation uint32, sheet int) uint32 {
	if sheet == 0 {
		return uint32(hook)
	}
	return (2*uint32(hook)+generation&1+1)*MaxTableSheets + uint32(sheet)
}
