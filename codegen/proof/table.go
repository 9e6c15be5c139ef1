package proof

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hopgate/hopgate/codegen"
	"github.com/hopgate/hopgate/compiler"
)

// CheckTable compares a table of form table with a policy, as Check does an object. It
// reads the bytes that the engine's map gets by docs/table-form.md; the engine itself,
// which is the same for every policy, is taken to do what is written there.
func CheckTable(p *compiler.Policy, t *codegen.Table, limit int) *Result {
	began := time.Now()
	c := &checker{policy: p, result: &Result{}, windows: t.Target == codegen.Windows, table: readTable(t), effort: newEffort(limit)}
	if setKeys(t.SetTables) > len(p.Sets) {
		c.policy = p.WithTables(compiler.DefaultTableRanges)
	}
	functions := []*function{{attach: codegen.AttachConnectAuthorization4}, {attach: codegen.AttachConnectAuthorization6}}
	if p.Hook == compiler.Accept {
		functions = []*function{{attach: codegen.AttachRecvAccept4}, {attach: codegen.AttachRecvAccept6}}
	}
	c.conclude(functions, limit, func() error { return c.wholeTable(t, functions) })
	c.result.Duration = time.Since(began)
	return c.result
}

// The layout of a table, as docs/table-form.md has it.
const (
	tableVersion = 4

	tableFlags   = 8
	tableCount   = 12 // of rules
	tableLists   = 16
	tableNodes   = 1040
	tableHook    = 1044
	tableLookups = 1128
	tableSets    = 1248
	tableFirst   = 1536 // node
	tableNode    = 64
	sheetNodes   = 1 << 21 // bytes of a sheet before the counters
	tableLast    = 12      // in a node: the numbers for the second slot
	tableCells   = 24
	tableKids    = 32
	auditLists   = 2  // from a list to that of the audit rules
	tableAnswers = 20 // the first slot of an answer
	mostTrees    = 16

	tableReadsContext = 1
	tableAuditMode    = 2
	tableUncounted    = 4
	tableAudits       = 8

	tableLeaf  = 1 << 31
	tableNone  = 0x7ffffffb // the leaf that is no audit rule
	ruleShift  = 3
	loggedBit  = 4
	verdictBit = 3
)

// table is what an engine's map holds.
type table struct {
	value   []byte      // of all sheets, without the counters
	lookups []memberKey // by number of the answer
	lists   sync.Map    // by number of the list: the []tableTree that have been read
}

func readTable(t *codegen.Table) *table {
	value := codegen.JoinParts(t.Parts(&codegen.TableLoading{}))
	read := &table{}
	for sheet := range slices.Chunk(value, codegen.TableValueSize) {
		read.value = append(read.value, sheet[:sheetNodes]...)
	}
	return read
}

func (t *table) u32(at uint32) uint32 { return binary.LittleEndian.Uint32(t.value[at:]) }

// setKeys is how many sets have tables.
func setKeys(list []codegen.TableSetTable) int {
	n := 0
	for _, s := range list {
		n = max(n, int(s.Key)/2+1)
	}
	return n
}

// wholeTable proves a table.
func (c *checker) wholeTable(t *codegen.Table, functions []*function) error {
	if t.Target != codegen.Windows {
		return fmt.Errorf("tables for target %s are not followed", t.Target)
	}
	if err := c.readHeader(); err != nil {
		return &errWrong{reason: err.Error()}
	}
	if err := c.readSetTables(t.SetTables); err != nil {
		return &errWrong{reason: err.Error()}
	}
	return c.each(functions, (*checker).family)
}

// readHeader compares what the header says of the policy.
func (c *checker) readHeader() error {
	t, p := c.table, c.policy
	flags := t.u32(tableFlags)
	audits := slices.ContainsFunc(p.Rules, func(r compiler.Rule) bool { return r.Audit })
	switch {
	case t.u32(0) != 0x54504748 || t.u32(4) != tableVersion:
		return errors.New("the table is of another layout")
	case t.u32(tableCount) != uint32(len(p.Rules)+1):
		return fmt.Errorf("the table has %d rules with the default, the policy %d", t.u32(tableCount), len(p.Rules)+1)
	case t.u32(tableHook) != uint32(p.Hook):
		return errors.New("the table is for another hook")
	case flags&tableAuditMode != 0 != p.AuditMode:
		return errors.New("the table is for another mode")
	case flags&tableAudits != 0 != audits:
		return errors.New("the table has audit rules where the policy has none, or none where it has some")
	case uint64(t.u32(tableNodes))*tableNode > uint64(len(t.value)-tableFirst):
		return errors.New("the table has more nodes than room")
	}
	c.counters = flags&tableUncounted == 0
	n := t.u32(tableLookups)
	if n > 32-tableAnswers {
		return fmt.Errorf("the table has %d lookups in sets", n)
	}
	for i := range n {
		at := tableSets + 16*(n-1-i)
		low, high, key := t.u32(at), t.u32(at+4), t.u32(at+8)
		l := memberKey{field: compiler.Field(compiler.NumFields)}
		for f := range compiler.Field(compiler.NumFields) {
			if a, b, ok := fieldSlots(f); ok && a == low && b == high {
				l.field = f
			}
		}
		if key%2 != 0 || int(key/2) >= len(p.Sets) || l.field == compiler.Field(compiler.NumFields) {
			return fmt.Errorf("lookup %d is of no field in no set", i)
		}
		l.set = p.Sets[key/2]
		if wide := l.set.Field == compiler.RemoteAddress; t.u32(at+12) != 0 != wide {
			return fmt.Errorf("lookup %d is of another family", i)
		}
		if f := l.field; f.NotAvailable() != nil && f != compiler.Interface && flags&tableReadsContext == 0 {
			return fmt.Errorf("lookup %d is of %s, which the engine is not told to ask for", i, f)
		}
		t.lookups = append(t.lookups, l)
	}
	return nil
}

// fieldSlots are the slots of the lower and the upper word of a field, as lookups name
// them. Slot 9 is zero.
func fieldSlots(f compiler.Field) (low, high uint32, ok bool) {
	switch f {
	case compiler.RemoteAddress:
		return 15, 14, true
	case compiler.LocalAddress:
		return 19, 18, true
	case compiler.NextHop:
		return 4, 5, true
	case compiler.Interface:
		return 6, 7, true
	case compiler.Family:
		return 0, 0, false
	}
	for slot := range uint32(tableAnswers) {
		if v, _, ok := slotVariable(slot); ok && v == ofField(f) {
			return slot, 9, true
		}
	}
	return 0, 0, false
}

// slotVariable is the variable that a slot holds 32 bits of, from a bit on.
func slotVariable(slot uint32) (v variable, shift uint8, ok bool) {
	switch slot {
	case 0, 1, 2, 3:
		return [...]variable{interfaceType, tunnelType, subInterface, compartment}[slot], 0, true
	case 4, 5:
		return nextHop, uint8(32 * (slot - 4)), true
	case 6, 7:
		return luid, uint8(32 * (slot - 6)), true
	case 8:
		return protocol, 0, true
	case 10, 11:
		return [...]variable{remotePort, localPort}[slot-10], 0, true
	case 12, 13, 16, 17:
		v = remoteHigh
	case 14, 15, 18, 19:
		v = remoteLow
	default:
		return 0, 0, false
	}
	if slot >= 16 {
		v += localHigh - remoteHigh
	}
	return v, uint8(32 * (1 - slot%2)), true
}

// readSetTables compares what the sets start with.
func (c *checker) readSetTables(list []codegen.TableSetTable) error {
	byKey := map[uint32][]byte{}
	for _, s := range list {
		byKey[s.Key] = s.Blocks
	}
	want := 0
	for i, s := range c.policy.Sets {
		for _, ipv6 := range codegen.SetFamilies(s.Field) {
			want++
			if err := checkBlocks(s, ipv6, byKey[codegen.SetKey(i, ipv6)]); err != nil {
				return fmt.Errorf("set `%s` starts with %w", s.Name, err)
			}
		}
	}
	if want != len(byKey) {
		return fmt.Errorf("the table has %d tables of sets, the policy %d", len(byKey), want)
	}
	return nil
}

// family proves what a table decides for one family.
func (c *checker) family(f *function) error {
	ipv6 := f.ipv6()
	b := &tableGraph{checker: c, ipv6: ipv6, graph: &graph{function: f, sets: len(c.table.lookups)}, tails: map[int32]answer{}}
	if err := b.build(); err != nil {
		return &errWrong{reason: fmt.Sprintf("%s: %s", f.attach.Section(), err)}
	}
	b.graph.sort()
	c.result.Nodes += len(b.graph.order)
	p := &part{checker: c, graph: b.graph, tails: b.tails}
	p.terms = &terms{graph: b.graph, mapped: !ipv6, ipv6: ipv6, count: b.graph.variables(), members: map[memberKey]variable{}}
	for i, l := range c.table.lookups {
		p.terms.members[l] = b.graph.members[i]
	}
	p.formulas()
	p.runner, p.forest = newRunner(b.graph, p.terms.count), newSections(p)
	for _, box := range p.start() {
		if err := p.prove(box); err != nil {
			return err
		}
	}
	return nil
}
