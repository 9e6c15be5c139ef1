package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hopgate/hopgate/lang"
)

// picture is a diagram as a person sees it: boxes with words and edges with values,
// and no more of them than can be taken in.
type picture struct {
	name  string
	boxes []pictureBox
	edges []pictureEdge
}

type pictureBox struct {
	text string
	kind boxKind
}

// boxKind says what a box stands for.
type boxKind uint8

const (
	testBox boxKind = iota
	startBox
	denyBox
	allowBox
	allowHardBox
	omittedBox // tests and rules that are not drawn
)

// pictureEdge leads from a box to another, for some values of what the first tests.
type pictureEdge struct {
	from, to int
	label    string
}

// What a picture shows at most: tests, branches of one, and values on an edge.
const (
	maxTests    = 48
	maxBranches = 12
	maxValues   = 3
)

// picture draws both address families, or one if they do not differ. The tests
// nearest the start come first; what does not fit is counted.
func (d *Diagram) picture() *picture {
	p := &painter{policy: d.Policy, picture: &picture{name: d.Policy.Name}, leaves: map[int]int{}}
	start := p.box("policy "+d.Policy.Name, startBox)
	if sameGraph(&d.IPv4, &d.IPv6) {
		p.graph(&d.IPv4, start, "")
		return p.picture
	}
	family := p.box("family", testBox)
	p.edge(start, family, "")
	p.graph(&d.IPv4, family, "ipv4")
	p.graph(&d.IPv6, family, "ipv6")
	return p.picture
}

func sameGraph(a, b *Graph) bool {
	return a.Audit == b.Audit && slices.Equal(a.Trees, b.Trees) && slices.EqualFunc(a.Nodes, b.Nodes, func(x, y Node) bool {
		return x.Var == y.Var && slices.Equal(x.Starts, y.Starts) && slices.Equal(x.Kids, y.Kids)
	})
}

// painter makes a picture of graphs.
type painter struct {
	policy *Policy
	*picture
	leaves map[int]int // box of each rule
	drawn  int         // tests so far
}

func (p *painter) box(text string, kind boxKind) int {
	p.boxes = append(p.boxes, pictureBox{text, kind})
	return len(p.boxes) - 1
}

func (p *painter) edge(from, to int, label string) {
	p.edges = append(p.edges, pictureEdge{from, to, label})
}

// graph draws the trees of a family behind a box.
func (p *painter) graph(g *Graph, from int, family string) {
	label := family
	f := &graphPainter{painter: p, graph: g, boxes: map[NodeID]int{}, limit: p.drawn + maxTests/2}
	audit := &graphPainter{painter: p, graph: g, boxes: map[NodeID]int{}, limit: f.limit + maxTests/4, audit: true}
	root := from
	if len(g.Trees) > 1 {
		root = p.box("all of these;\nthe first rule of those found decides", startBox)
		p.edge(from, root, label)
		label = ""
	}
	for _, tree := range g.Trees {
		p.edge(root, f.visit(tree), label)
	}
	if rule, ok := g.Audit.Rule(); !ok || rule < len(p.policy.Rules) {
		p.edge(from, audit.visit(g.Audit), strings.TrimSpace(family+" audit"))
	}
	f.finish()
	audit.finish()
}

// graphPainter draws the nodes of one graph, breadth first.
type graphPainter struct {
	*painter
	graph *Graph
	boxes map[NodeID]int
	queue []NodeID
	limit int
	audit bool // it leads to audit rules
}

// visit gives the box of a node, to be filled in later, or of a rule.
func (f *graphPainter) visit(n NodeID) int {
	if rule, ok := n.Rule(); ok {
		return f.leaf(rule)
	}
	if box, ok := f.boxes[n]; ok {
		return box
	}
	node := &f.graph.Nodes[n]
	var box int
	if f.drawn < f.limit {
		f.drawn++
		box = f.box(node.Var.title(), testBox)
		f.queue = append(f.queue, n)
	} else {
		tests, rules := f.below(n)
		box = f.box(fmt.Sprintf("%s …\n%s, %s", node.Var.title(), counted(tests, "test"), counted(rules, "rule")), omittedBox)
	}
	f.boxes[n] = box
	return box
}

// finish draws what visit has put off.
func (f *graphPainter) finish() {
	for len(f.queue) > 0 {
		n := f.queue[0]
		f.queue = f.queue[1:]
		f.branches(n)
	}
}

// branches draws an edge for each kid of a node.
func (f *graphPainter) branches(n NodeID) {
	node := &f.graph.Nodes[n]
	var kids []NodeID
	values := map[NodeID][][2]uint64{}
	for i, k := range node.Kids {
		if values[k] == nil {
			kids = append(kids, k)
		}
		values[k] = append(values[k], [2]uint64{node.Starts[i], node.last(i)})
	}
	rest := kids[0] // the kid that is easiest described as the rest
	for _, k := range kids[1:] {
		if len(values[k]) > len(values[rest]) || len(values[k]) == len(values[rest]) && size(values[k]) > size(values[rest]) {
			rest = k
		}
	}
	from := f.boxes[n]
	for i, k := range kids {
		if i == maxBranches && len(kids) > maxBranches+1 {
			f.edge(from, f.box(counted(len(kids)-i, "more branch"), omittedBox), "")
			return
		}
		f.edge(from, f.visit(k), f.label(node.Var, values[k], k == rest))
	}
}

func size(ranges [][2]uint64) (n uint64) {
	for _, r := range ranges {
		n += r[1] - r[0]
	}
	return n
}

// leaf gives the box of a rule, or of the default.
func (f *graphPainter) leaf(rule int) int {
	if f.audit && rule == len(f.policy.Rules) {
		rule++ // a box of its own
	}
	if box, ok := f.leaves[rule]; ok {
		return box
	}
	if rule > len(f.policy.Rules) {
		f.leaves[rule] = f.box("no audit rule", omittedBox)
		return f.leaves[rule]
	}
	o := f.policy.effect(rule)
	kind := map[lang.Verdict]boxKind{lang.Deny: denyBox, lang.Allow: allowBox, lang.AllowHard: allowHardBox}[o.verdict]
	text := verdictText(o.verdict)
	if o.log {
		text += " log"
	}
	if o.audit {
		text += " audit"
	}
	f.leaves[rule] = f.box(f.policy.RuleID(rule)+"\n"+text, kind)
	return f.leaves[rule]
}

// below counts the tests from a node on, and the rules they lead to.
func (f *graphPainter) below(n NodeID) (tests, rules int) {
	seen := map[NodeID]bool{n: true}
	for work := []NodeID{n}; len(work) > 0; {
		at := work[len(work)-1]
		work = work[:len(work)-1]
		if _, ok := at.Rule(); ok {
			rules++
			continue
		}
		tests++
		for _, k := range f.graph.Nodes[at].Kids {
			if !seen[k] {
				seen[k] = true
				work = append(work, k)
			}
		}
	}
	return tests, rules
}

func counted(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "ch"):
		what += "e"
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// title is what a test asks.
func (v Var) title() string {
	switch v.Part {
	case High64:
		return v.Field.String() + ", first half"
	case Low64:
		return v.Field.String() + ", second half"
	}
	return v.String()
}

// label names the values of an edge; the rest are `other`.
func (f *graphPainter) label(v Var, in [][2]uint64, rest bool) string {
	if v.Set != nil || v.Interface != nil {
		return [...]string{"no", "yes"}[in[0][0]]
	}
	unknown := false
	var known [][2]uint64
	for _, r := range in {
		if v.Part == Whole {
			known = append(known, within([]Range{{Number(r[0]), Number(r[1])}}, v.Field.known(), 1<<64-1)...)
		} else {
			known = append(known, r)
		}
		for _, n := range v.Field.NotAvailable() {
			unknown = unknown || r[0] <= n.Lo && n.Lo <= r[1]
		}
	}
	words := f.words(v, known)
	if rest && len(words) > 0 && (len(words) > 1 || strings.HasPrefix(words[0], "not ")) {
		words = []string{"other"}
	}
	if n := len(words); n > maxValues {
		words = append(words[:maxValues], fmt.Sprintf("%d more", n-maxValues))
	}
	if unknown {
		words = append(words, "unknown")
	}
	return strings.Join(words, ", ")
}

// words writes intervals of a variable's values. Numbers that have names are listed,
// or those that are missing are.
func (f *graphPainter) words(v Var, in [][2]uint64) []string {
	var words []string
	if v.Field == InterfaceType || v.Field == TunnelType || v.Field == Protocol {
		var ranges []Range
		for _, r := range in {
			ranges = append(ranges, Range{Number(r[0]), Number(r[1])})
		}
		words, inverted := In{v.Field, ranges}.literals()
		if len(words) > 0 && inverted {
			words[0] = "not " + words[0]
		}
		if len(words) > 0 {
			return words
		}
	}
	for _, r := range in {
		words = append(words, f.spell(v, r[0], r[1]))
	}
	return words
}

// spell writes an interval of a variable's values.
func (f *graphPainter) spell(v Var, first, last uint64) string {
	least, most := uint64(0), v.Last()
	if v.Part == Whole {
		least, most = v.Field.known().First.Lo, v.Field.known().Last.Lo
	}
	switch {
	case first == least && last == most && least != 0:
		return "known"
	case first == least && last == most:
		return "any"
	case first == least && last > first:
		return "< " + f.spellOne(v, last+1)
	case last == most && last > first:
		return ">= " + f.spellOne(v, first)
	case first == last && v.Part != High64:
		return f.spellOne(v, first)
	}
	switch v.Part {
	case Word32:
		return spellAddressRange(Range{Value{0, mapped.First.Lo | first}, Value{0, mapped.First.Lo | last}})
	case High64:
		return spellAddressRange(Range{Value{first, 0}, Value{last, 1<<64 - 1}})
	}
	return f.spellOne(v, first) + "-" + f.spellOne(v, last)
}

// spellOne writes one value; of half an IPv6 address, the address without the other
// half.
func (f *graphPainter) spellOne(v Var, n uint64) string {
	switch v.Part {
	case Word32:
		return Value{0, mapped.First.Lo | n}.Address().String()
	case High64:
		return Value{n, 0}.Address().String()
	case Low64:
		return fmt.Sprintf("…:%x:%x:%x:%x", n>>48, n>>32&0xffff, n>>16&0xffff, n&0xffff)
	}
	return f.policy.literal(v.Field, Number(n))
}
