package codegen

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/hopgate/hopgate/compiler"
)

// Table is a policy in the table form: what the maps of an engine hold. It is plain
// data and does not change.
type Table struct {
	Target     Target
	Hook       compiler.Hook
	Policy     string     // the policy's name
	Text       string     // of the policy, as Policy.String; "" if it is too long to keep
	PolicyHash [32]byte   // SHA-256 of that text
	Rules      []Rule     // by counter; the last is the default
	Sets       []TableSet // dynamic ones, by number
	Build      Build
	Steps      [tableLists]int // on the longest way: IPv4, IPv6, and both for audit rules

	image []byte // nodes with the header, up to the last node
}

// TableSet is a dynamic set and what is in it when the policy starts.
type TableSet struct {
	Name   string
	Field  compiler.Field // what the elements are, as in compiler.Set
	Ranges []compiler.Range
}

// GenerateTable turns a diagram into a table. The error names the limit that it
// does not fit in. Of the options, Target and NoCounters count.
func GenerateTable(d *compiler.Diagram, opts *Options) (*Table, error) {
	if opts == nil {
		opts = &Options{}
	}
	p := d.Policy
	t := &Table{Target: opts.Target, Hook: p.Hook, Policy: p.Name, Rules: rules(p)}
	if len(p.Rules) > MaxTableRules {
		return nil, t.tooLarge("rules", len(p.Rules), MaxTableRules)
	}
	b := &tableBuilder{diagram: d, tableTrees: tableTrees{cons: map[tableNode]tableTarget{}}}
	if hasAudit(p) {
		if err := b.compileAudit(); err != nil {
			return nil, err
		}
	}
	lists, err := b.lists(t)
	if err != nil {
		return nil, err
	}
	switch {
	case len(b.nodes) > MaxTableNodes:
		return nil, t.tooLarge("nodes", len(b.nodes), MaxTableNodes)
	case len(b.sets) > MaxTableSets:
		return nil, t.tooLarge("fields looked up in dynamic sets", len(b.sets), MaxTableSets)
	}
	for _, s := range p.Sets {
		t.Sets = append(t.Sets, TableSet{s.Name, s.Field, s.Ranges})
	}
	if n := len(t.SetContents(0)); n > MaxTablePrefixes {
		return nil, t.tooLarge("prefixes in dynamic sets", n, MaxTablePrefixes)
	}
	t.Text = p.String()
	t.PolicyHash = sha256.Sum256([]byte(t.Text))
	t.image = b.image(t, lists, opts)
	_, err = t.Value(0)
	return t, err
}

func (t *Table) tooLarge(what string, n, limit int) error {
	return fmt.Errorf("policy `%s` is too large for form table: it needs %d %s, the limit is %d [too-large]: use form code, or split the policy",
		t.Policy, n, what, limit)
}

// tableBuilder lowers the graphs of a diagram.
type tableBuilder struct {
	tableTrees
	diagram *compiler.Diagram
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
	b.audit, err = compiler.Compile(&p, nil)
	return err
}

// lists lowers the trees of every list, and notes how many steps they take.
func (b *tableBuilder) lists(t *Table) (lists [tableLists][]tableTarget, err error) {
	p := b.diagram.Policy
	add := func(l tableList, g *compiler.Graph, leaf func(rule int) int32) error {
		if len(g.Trees) > MaxTableTrees {
			return t.tooLarge("trees", len(g.Trees), MaxTableTrees)
		}
		lists[l] = b.add(g, g.Trees, leaf)
		lowest := b.lowest()
		slices.SortStableFunc(lists[l], func(x, y tableTarget) int { return int(lowest(x)) - int(lowest(y)) })
		if t.Steps[l] = b.steps(lists[l]); t.Steps[l] > MaxTableSteps {
			return t.tooLarge("steps", t.Steps[l], MaxTableSteps)
		}
		return nil
	}
	for l, g := range []*compiler.Graph{&b.diagram.IPv4, &b.diagram.IPv6} {
		if err := add(tableList(l), g, func(rule int) int32 { return leafValue(p, rule) }); err != nil {
			return lists, err
		}
		if b.audit == nil {
			continue
		}
		g = []*compiler.Graph{&b.audit.IPv4, &b.audit.IPv6}[l]
		err := add(tableList(l)+tableAudit, g, func(rule int) int32 {
			if rule == len(b.rules) {
				return noLeaf // no audit rule: after every rule
			}
			return leafValue(p, b.rules[rule])
		})
		if err != nil {
			return lists, err
		}
	}
	return lists, nil
}

// image writes header and nodes.
func (b *tableBuilder) image(t *Table, lists [tableLists][]tableTarget, opts *Options) []byte {
	image := make([]byte, tableHeaderSize+len(b.nodes)*tableNodeSize)
	put := binary.LittleEndian.PutUint32
	flags := uint32(0)
	set := func(flag uint32, on bool) {
		if on {
			flags |= flag
		}
	}
	set(flagAuditMode, b.diagram.Policy.AuditMode)
	set(flagNoCounters, opts.NoCounters)
	set(flagContext, b.readsContext())
	set(flagAudit, b.audit != nil)
	put(image[headerMagic:], TableMagic)
	put(image[headerVersion:], TableVersion)
	put(image[headerFlags:], flags)
	put(image[headerRules:], uint32(len(t.Rules)))
	put(image[headerNodes:], uint32(len(b.nodes)))
	put(image[headerSets:], uint32(len(b.sets)))
	copy(image[headerPolicyHash:], t.PolicyHash[:])
	for i, s := range b.sets {
		at := image[headerSetList+i*tableSetSize:]
		high, low := slotZero, slotZero
		if low = slotOf(compiler.Var{Field: s.field}); low == slotRemoteLow || low == slotLocalLow {
			high = low - 1
		}
		put(at, uint32(high)*8)
		put(at[4:], uint32(low)*8)
		put(at[8:], uint32(slices.Index(b.diagram.Policy.Sets, s.set)))
	}
	lowest := b.lowest()
	for l, list := range lists {
		start := l * tableListTrees * tableTreeSize
		put(image[headerStart+4*l:], uint32(start))
		for i, root := range list {
			at := image[headerTrees+start+i*tableTreeSize:]
			put(at, b.reference(root))
			put(at[4:], uint32(lowest(root)))
		}
	}
	for i, n := range b.nodes {
		at := image[tableHeaderSize+(len(b.nodes)-1-i)*tableNodeSize:]
		binary.LittleEndian.PutUint64(at, n.cut)
		put(at[8:], b.reference(n.low))
		put(at[12:], b.reference(n.high))
	}
	return image
}

// readsContext reports whether some node or set needs the network context.
func (b *tableBuilder) readsContext() bool {
	fromContext := sockAddr(b.diagram.Policy.Hook).fromContext
	for _, s := range b.sets {
		if fromContext(s.field) {
			return true
		}
	}
	return slices.ContainsFunc(b.nodes, func(n tableNode) bool { return n.slot <= slotSubInterface })
}

// Value is the value of the engine's map for the policy, with counters of zero.
// Generation counts the policies that the engine was given for the hook.
func (t *Table) Value(generation uint32) ([]byte, error) {
	description, err := t.description()
	if err != nil {
		return nil, err
	}
	value := make([]byte, TableValueSize)
	copy(value, t.image)
	binary.LittleEndian.PutUint32(value[tableDescription:], uint32(len(description)))
	copy(value[tableDescription+4:], description)
	sum := tableChecksum(value)
	copy(value[headerChecksum:], sum[:])
	binary.LittleEndian.PutUint32(value[headerSetBase:], TableSetBase(t.Hook, generation))
	binary.LittleEndian.PutUint32(value[headerGeneration:], generation)
	return value, nil
}

// tableChecksum is that of the value: all but counters and what is set at loading.
func tableChecksum(value []byte) [32]byte {
	header := bytes.Clone(value[:tableHeaderSize])
	clear(header[headerSetBase : headerSetBase+4])
	clear(header[headerGeneration : headerGeneration+4])
	clear(header[headerChecksum : headerChecksum+32])
	h := sha256.New()
	h.Write(header)
	nodes := min(uint64(binary.LittleEndian.Uint32(value[headerNodes:])), MaxTableNodes)
	h.Write(value[tableHeaderSize : tableHeaderSize+nodes*tableNodeSize])
	length := min(uint64(binary.LittleEndian.Uint32(value[tableDescription:])), tableDescriptionSize-4)
	h.Write(value[tableDescription : tableDescription+4+length])
	return [32]byte(h.Sum(nil))
}

// TableGeneration is the generation of a table's value; 0 without one.
func TableGeneration(value []byte) uint32 {
	if len(value) != TableValueSize {
		return 0
	}
	return binary.LittleEndian.Uint32(value[headerGeneration:])
}

// TableSetBase is the number of a policy's first set in the sets' map. Only every
// other policy of a hook has the same.
func TableSetBase(hook compiler.Hook, generation uint32) uint32 {
	return uint32(hook)<<31 | generation&1<<30
}

// IsTableSetKey reports whether a key of the sets' map is of a set of the policy
// with the base.
func IsTableSetKey(key []byte, base uint32) bool {
	return len(key) == setKeySize && binary.BigEndian.Uint32(key[setKeyNumber:])>>30 == base>>30
}

// SetContents gives the entries of the sets' map for the table's sets.
func (t *Table) SetContents(generation uint32) []ebpf.MapKV {
	base := TableSetBase(t.Hook, generation)
	var contents []ebpf.MapKV
	for i, s := range t.Sets {
		entry := func(v compiler.Value, bits int, member uint32) {
			key := binary.NativeEndian.AppendUint32(nil, uint32(32+bits))
			key = binary.BigEndian.AppendUint32(key, base+uint32(i))
			key = binary.BigEndian.AppendUint64(key, v.Hi)
			key = binary.BigEndian.AppendUint64(key, v.Lo)
			contents = append(contents, ebpf.MapKV{Key: key, Value: binary.LittleEndian.AppendUint32(nil, member)})
		}
		entry(compiler.Value{}, 0, 0) // finding nothing at all means that the set was never filled
		for _, r := range s.Ranges {
			for _, p := range prefixes(r, 128) {
				entry(p.first, p.length, 1)
			}
		}
	}
	return contents
}
