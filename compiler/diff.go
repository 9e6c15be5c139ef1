package compiler

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/hopgate/hopgate/lang"
)

// DiffOptions say what counts as a difference. The zero value is verdict, log and
// audit.
type DiffOptions struct {
	Rules              bool // and which rule decides, by its id
	OnlyMorePermissive bool // nothing but a more permissive verdict
}

// Comparison is how two policies differ. Without differences, and decided, they do
// the same with every connection, whatever dynamic sets hold and interfaces are.
type Comparison struct {
	Differences []Difference
	Settings    []SettingDifference
	Undecided   bool // the search took too long: there may be more
}

// Different reports whether anything differs.
func (c *Comparison) Different() bool { return len(c.Differences)+len(c.Settings) > 0 }

// SettingDifference is one in what stands outside the rules.
type SettingDifference struct{ What, Old, New string }

// Difference is all connections that one rule of the old policy and one of the new
// decide, with different outcomes.
type Difference struct {
	Old, New Outcome
	// Where is when that is so: any of the conditions is true. If Partial, it is a
	// part of that.
	Where   []Cond
	Partial bool
	Witness Witness
}

// Outcome is what a policy, judged as enforced, does with a connection.
type Outcome struct {
	Rule       string
	Verdict    lang.Verdict
	Log, Audit bool // of the rule
}

// Limits of a comparison: steps for one pair of rules and for all, and regions and
// pairs that are listed.
const (
	diffPairSteps = 1 << 20
	diffSteps     = 1 << 25
	maxRegions    = 40
	maxPairs      = 1000
)

// Diff compares two policies of one hook.
func Diff(older, newer *Policy, opts *DiffOptions) (*Comparison, error) {
	if opts == nil {
		opts = &DiffOptions{}
	}
	if older.Hook != newer.Hook {
		return nil, errors.New("the policies are for different hooks: there is nothing to compare")
	}
	c := &comparer{old: older.Enforced(), new: newer.Enforced(), opts: *opts, steps: diffSteps, tidying: simplifyAllSteps}
	// Audit is judged as enforced, and all the same a difference of effect.
	c.outcomes = [2][]Outcome{outcomes(older), outcomes(newer)}
	for i := range c.families {
		c.family(i)
	}
	result := &Comparison{Undecided: c.undecided}
	slices.SortFunc(c.order, func(a, b [2]int) int { return slices.Compare(a[:], b[:]) })
	for _, pair := range c.order {
		result.Differences = append(result.Differences, c.difference(pair))
	}
	c.settings(older, newer, result)
	return result, nil
}

// comparer holds what is known while two policies are compared.
type comparer struct {
	old, new  *Policy
	opts      DiffOptions
	outcomes  [2][]Outcome // of the old and the new rules, the default last
	families  [2]familyComparison
	pairs     map[[2]int]*pairRegions
	order     [][2]int
	steps     int // left
	tidying   int // steps left to make regions simple
	undecided bool
}

// familyComparison is the space of one family with the formulas of both policies.
type familyComparison struct {
	*space
	rules [2]ruleFormulas
	kept  [2][]bool // rules that both policies have, in the same order
}

// pairRegions are the regions, by family, that one old and one new rule decide.
type pairRegions struct {
	regions [2][]region
	partial bool
	witness *Witness
	sure    bool // the witness needs no two names for one interface
}

func outcomes(p *Policy) []Outcome {
	list := make([]Outcome, len(p.Rules)+1)
	for i := range list {
		e := p.effect(i)
		list[i] = Outcome{p.RuleID(i), e.verdict, e.log, e.audit}
	}
	return list
}

// differ reports whether an old and a new outcome count as different.
func (c *comparer) differ(older, newer int) bool {
	a, b := c.outcomes[0][older], c.outcomes[1][newer]
	if c.opts.OnlyMorePermissive {
		return b.Verdict > a.Verdict // deny, allow, allow-hard
	}
	if !c.opts.Rules {
		a.Rule, b.Rule = "", ""
	}
	return a != b
}

// family finds the differences in one address family. Where neither policy has a
// rule decide that the other lacks, they agree: the first of the rules they share,
// or the default.
func (c *comparer) family(i int) {
	f := &c.families[i]
	f.space = newSpace(i == 1)
	f.space.sets, f.space.interfaces = c.shared()
	f.rules = [2]ruleFormulas{f.ruleFormulas(c.old), f.ruleFormulas(c.new)}
	f.share()
	f.kept = c.align(f.rules)
	r := f.everything()
	for a := range f.rules[0].list {
		if !f.kept[0][a] {
			c.decidedBy(i, r, 0, a, func(int) bool { return true })
		}
	}
	for b := range f.rules[1].list {
		if !f.kept[1][b] {
			c.decidedBy(i, r, 1, b, func(a int) bool { return a == len(c.old.Rules) || f.kept[0][a] })
		}
	}
	c.pair(i, r, len(c.old.Rules), len(c.new.Rules), distinctObstacles(f.rules[0].list, f.rules[1].list))
}

// share lets equal formulas of both policies be one.
func (f *familyComparison) share() {
	first := map[string]*formula{}
	for side := range f.rules {
		for i, g := range f.rules[side].list {
			key := string(g.appendKey(nil))
			if first[key] == nil {
				first[key] = g
			}
			f.rules[side].list[i] = first[key]
		}
	}
}

func distinctObstacles(lists ...[]*formula) (obstacles []*obstacle) {
	seen := map[*formula]bool{}
	for _, f := range slices.Concat(lists...) {
		if !seen[f] {
			seen[f] = true
			obstacles = append(obstacles, &obstacle{formula: f})
		}
	}
	return obstacles
}

// shared maps the sets of the new policy to those of the old one that they are, and
// the interfaces of both.
func (c *comparer) shared() (map[*Set]*Set, map[*NamedInterface]*NamedInterface) {
	sets, interfaces := map[*Set]*Set{}, sameInterfaces(c.old, c.new)
	for _, s := range c.new.Sets {
		for _, t := range c.old.Sets {
			if s.Name == t.Name && s.Field == t.Field {
				sets[s] = t
			}
		}
	}
	return sets, interfaces
}

// decidedBy goes through the regions that a rule of one side decides, and pairs it
// with the rules of the other side that decide there and are wanted.
func (c *comparer) decidedBy(family int, r region, side, rule int, wanted func(other int) bool) {
	f := &c.families[family]
	find := c.search(f)
	find.within(r, f.rules[side].list[rule], func() bool {
		before := earlier(find, r, &f.rules[side], rule)
		if slices.ContainsFunc(before, func(o *obstacle) bool { return o.used }) {
			return false
		}
		seen := map[*formula]bool{}
		for _, o := range before {
			seen[o.formula] = true
		}
		others := &f.rules[1-side]
		for other := range find.meeting(others, r) {
			rel, _, _ := find.look(others.list[other], r)
			if find.gaveUp() {
				return true
			}
			if rel == outside {
				continue
			}
			if wanted(other) && c.differ(sided(side, rule, other)) {
				find.within(r, others.list[other], func() bool {
					older, newer := sided(side, rule, other)
					c.pair(family, r, older, newer, before)
					return false
				})
			}
			if rel == covers {
				return false
			}
			if o := others.list[other]; !seen[o] {
				seen[o] = true
				before = append(before, &obstacle{formula: o})
			}
		}
		if wanted(len(others.list)) {
			older, newer := sided(side, rule, len(others.list))
			c.pair(family, r, older, newer, before)
		}
		return false
	})
	c.spent(find)
}

// sided puts a rule of a side and one of the other in the order old, new.
func sided(side, rule, other int) (older, newer int) {
	if side == 0 {
		return rule, other
	}
	return other, rule
}

// earlier are the rules before one that meet a region. One that covers it is marked as
// used.
func earlier(find *search, r region, rules *ruleFormulas, rule int) []*obstacle {
	var list []*obstacle
	for i := range find.meeting(rules, r) {
		if i >= rule {
			break
		}
		f := rules.list[i]
		if rel, _, _ := find.look(f, r); rel != outside {
			list = append(list, &obstacle{formula: f, rule: i, used: rel == covers})
		}
	}
	return list
}

// search starts a search for one pair of rules, or what finds the pairs.
func (c *comparer) search(f *familyComparison) *search {
	return &search{space: f.space, steps: min(c.steps, diffPairSteps)}
}

// spent takes the steps of a search from what is left.
func (c *comparer) spent(find *search) {
	c.steps = max(0, c.steps-(min(c.steps, diffPairSteps)-max(0, find.steps)))
	c.undecided = c.undecided || find.gaveUp()
}

// pair collects what is left of a region, in which an old and a new rule match,
// without the rules before them.
func (c *comparer) pair(family int, r region, older, newer int, before []*obstacle) {
	if !c.differ(older, newer) {
		return
	}
	f := &c.families[family]
	key := [2]int{older, newer}
	p := c.pairs[key]
	if p == nil && len(c.pairs) == maxPairs {
		c.undecided = true
		return
	}
	find := c.search(f)
	find.uncovered(r, before, func() bool {
		w, sure := f.witness(r, true)
		if !sure {
			w, _ = f.witness(r, false)
		}
		if w == nil {
			return false // no connection is like that
		}
		if p == nil {
			p = &pairRegions{}
			if c.pairs == nil {
				c.pairs = map[[2]int]*pairRegions{}
			}
			c.pairs[key] = p
			c.order = append(c.order, key)
		}
		if p.witness == nil || sure && !p.sure {
			p.witness, p.sure = w, sure
		}
		if len(p.regions[family]) == maxRegions {
			p.partial = true
			return true
		}
		p.regions[family] = append(p.regions[family], slices.Clone(r))
		return false
	})
	if find.gaveUp() && p != nil {
		p.partial = true
	}
	c.spent(find)
}

// difference puts together what was collected of a pair.
func (c *comparer) difference(key [2]int) Difference {
	p := c.pairs[key]
	d := Difference{Old: c.outcomes[0][key[0]], New: c.outcomes[1][key[1]], Partial: p.partial || c.undecided, Witness: *p.witness}
	d.Where = c.where(p)
	for side, policy := range []*Policy{c.old, c.new} {
		if got := p.witness.Under(policy).Eval(&p.witness.Request).Rule; got != key[side] {
			panic(fmt.Sprintf("compiler: %s is decided by `%s`, not by `%s`", policy.RequestText(&p.witness.Request), policy.RuleID(got), policy.RuleID(key[side])))
		}
	}
	return d
}

// settings adds differences that no connection shows by itself.
func (c *comparer) settings(older, newer *Policy, result *Comparison) {
	mode := func(p *Policy) string {
		if p.AuditMode {
			return "audit"
		}
		return "enforce"
	}
	if older.AuditMode != newer.AuditMode && (newer.AuditMode || !c.opts.OnlyMorePermissive) {
		result.Settings = append(result.Settings, SettingDifference{"mode", mode(older), mode(newer)})
	}
	start := map[*Set]*Set{}
	for s, t := range c.families[0].space.sets {
		if !slices.Equal(s.Ranges, t.Ranges) {
			start[s] = t
		}
	}
	if len(start) > 0 && c.opts.OnlyMorePermissive && !morePermissiveAtStart(older, newer) {
		start = nil
	}
	for s, t := range start {
		result.Settings = append(result.Settings, SettingDifference{"set " + s.Name + " at the start", contentsText(t), contentsText(s)})
	}
	slices.SortFunc(result.Settings, func(a, b SettingDifference) int { return cmp.Compare(a.What, b.What) })
}

// morePermissiveAtStart reports whether the new policy may allow more than the old
// one while the dynamic sets hold what they start with.
func morePermissiveAtStart(older, newer *Policy) bool {
	c, err := Diff(older.withFrozenSets(), newer.withFrozenSets(), &DiffOptions{OnlyMorePermissive: true})
	return err != nil || c.Undecided || len(c.Differences) > 0
}

// contentsText lists the elements of a set, cut where there are many.
func contentsText(s *Set) string {
	if len(s.Ranges) == 0 {
		return "{}"
	}
	words, _ := In{s.Field, s.Ranges}.literals()
	text := "{ "
	for i, w := range words {
		if i > 0 {
			text += ", "
		}
		if i == maxNamed {
			return text + fmt.Sprintf("and %d more }", len(words)-i)
		}
		text += w
	}
	return text + " }"
}

// maxAligned bounds the work of finding the rules that two policies share, in pairs
// of rules.
const maxAligned = 1 << 24

// align marks rules that both policies have with the same formula and outcome, in the
// same order; the more the better, but any such choice is right.
func (c *comparer) align(rules [2]ruleFormulas) (kept [2][]bool) {
	type key struct {
		*formula
		Outcome
	}
	var keys [2][]key
	for side := range rules {
		kept[side] = make([]bool, len(rules[side].list))
		for i, f := range rules[side].list {
			o := c.outcomes[side][i]
			if !c.opts.Rules {
				o.Rule = ""
			}
			keys[side] = append(keys[side], key{f, o})
		}
	}
	a, b := keys[0], keys[1]
	start := 0
	for start < len(a) && start < len(b) && a[start] == b[start] {
		kept[0][start], kept[1][start] = true, true
		start++
	}
	for len(a) > start && len(b) > start && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
		kept[0][len(a)], kept[1][len(b)] = true, true
	}
	n, m := len(a)-start, len(b)-start
	if n*m > maxAligned {
		return kept
	}
	// longest[i][j] is the length of the longest common subsequence of what follows.
	longest := make([][]int32, n+1)
	for i := range longest {
		longest[i] = make([]int32, m+1)
	}
	for i := n - 1; i >= 0; i-- {
		for j := m - 1; j >= 0; j-- {
			if a[start+i] == b[start+j] {
				longest[i][j] = longest[i+1][j+1] + 1
			} else {
				longest[i][j] = max(longest[i+1][j], longest[i][j+1])
			}
		}
	}
	for i, j := 0, 0; i < n && j < m; {
		switch {
		case a[start+i] == b[start+j]:
			kept[0][start+i], kept[1][start+j] = true, true
			i, j = i+1, j+1
		case longest[i+1][j] >= longest[i][j+1]:
			i++
		default:
			j++
		}
	}
	return kept
}

// appendKey writes the formula such that equal ones of a space are the same bytes.
func (f *formula) appendKey(key []byte) []byte {
	key = append(key, byte(f.shape))
	key = binary.LittleEndian.AppendUint32(key, uint32(f.v))
	key = binary.LittleEndian.AppendUint32(key, uint32(len(f.ranges)))
	for _, r := range f.ranges {
		for _, n := range []uint64{r.First.Hi, r.First.Lo, r.Last.Hi, r.Last.Lo} {
			key = binary.LittleEndian.AppendUint64(key, n)
		}
	}
	key = binary.LittleEndian.AppendUint32(key, uint32(len(f.parts)))
	for i := range f.parts {
		key = f.parts[i].appendKey(key)
	}
	return key
}
