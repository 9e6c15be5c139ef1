package proof

import (
	"errors"
	"math"
	"slices"

	"github.com/hopgate/hopgate/compiler"
)

// A forest of trees keeps the best rule so far in a register, which paths join in. So
// its graph falls into sections that begin where such a joined number is set and end
// where the next one is, and each is proved by itself. What is known at a section's
// begin is an invariant of the number n there, for every connection:
//
//   - it is sound: n's rule is not before the one that decides, or answers alike;
//   - for the rules that are dealt with, n's rule is not after the one that decides, if
//     it is one of these.
//
// Where all rules are dealt with, both together leave the right answer. Rules that
// stand side by side and answer alike are of one rank, which is as good as the rule.
// Numbers are taken for rule << 3, a guess at what the program means by them, which is
// checked where the program turns a number into its answer.

// sections proves section by section.
type sections struct {
	*part
	*pieces
	ranks   []int32  // by rule, and the default
	ends    []int32  // by rank: the first piece after it
	answers []answer // by rule, and the default
	alike   map[answer]bitmap
	live    []uint64           // by node: the joins that matter from there on
	quiet   []bool             // by node: only joined numbers are tested from there to the section's end
	place   []int32            // by node
	wrong   map[int32][]uint64 // by choice: the numbers with another answer than their rules'

	start *region
	cuts  map[int32]*cut // by first node of a section
	from  *cut           // of the section at hand
	at    [][]*region    // by node
	open  bitmap         // of places
	most  int            // regions that are kept apart at a node
	left  int            // regions
}

// cut is the begin of a section.
type cut struct {
	join  int32  // the joined number that goes on, or -1
	dealt bitmap // pieces of the rules that are dealt with
	// Network has the values of the variables that come with the network context, as code
	// after a failed call is another.
	network [subInterface + 1 - interfaceType]set
	done    bool
}

// newSections prepares the proof of a graph; nil if it can't be done in this way.
func newSections(p *part) *sections {
	c, ok := piecesOf(p)
	if !ok || p.graph.joins > 64 || slices.ContainsFunc(p.policy.Rules, func(r compiler.Rule) bool { return r.Audit }) {
		return nil
	}
	for _, numbers := range p.graph.numbers {
		if len(numbers) > 0 && numbers[len(numbers)-1] > math.MaxUint32 {
			return nil
		}
	}
	w := &sections{part: p, pieces: c, alike: map[answer]bitmap{}, wrong: map[int32][]uint64{}}
	w.rank()
	w.survey()
	return w
}

// rank numbers the rules so that neighbours that nobody can tell apart are of one rank.
func (w *sections) rank() {
	rank := int32(0)
	for i := range len(w.policy.Rules) + 1 {
		a := w.expected(i, -1)
		if i > 0 && a != w.answers[i-1] {
			rank++
		}
		w.ranks, w.answers = append(w.ranks, rank), append(w.answers, a)
		w.ends = append(w.ends[:rank], w.begin[min(i+1, len(w.begin)-1)])
	}
}

// survey finds out what matters from each node on.
func (w *sections) survey() {
	g := w.graph
	w.live, w.quiet, w.place = make([]uint64, len(g.nodes)), make([]bool, len(g.nodes)), make([]int32, len(g.nodes))
	w.at, w.open = make([][]*region, len(g.nodes)), newBitmap(len(g.order))
	for i, id := range slices.Backward(g.order) {
		n := &g.nodes[id]
		w.place[id] = int32(i)
		if n.tail {
			w.quiet[id] = true
			continue
		}
		quiet := n.space == joins && (n.kind == testNode || n.kind == chooseNode)
		for _, kid := range n.kids {
			w.live[id] |= w.live[kid]
			quiet = quiet && w.quiet[kid]
		}
		w.quiet[id] = quiet || n.kind == setNode
		switch {
		case n.kind == setNode && w.live[id]>>n.v&1 != 0:
			w.live[id] &^= 1 << n.v
			if n.from >= 0 {
				w.live[id] |= 1 << n.from
			}
		case n.kind != setNode && n.space == joins && (n.kind == testNode || n.kind == chooseNode):
			w.live[id] |= 1 << n.v
		}
	}
}

// Paths that meet are kept apart until there are more than a few, then more of them.
var mostApart = [...]int{8, 100}

// maxRegions bounds the work of one attempt, beyond which it is not worth it.
const maxRegions = 3_000_000

// prove shows that every connection in the box gets the answer of the policy.
func (w *sections) prove(b []set) error {
	b = slices.Clone(b)
	for i := range w.graph.joins {
		b[w.graph.joinVariable(int32(i))] = set{{0, math.MaxUint32}}
	}
	w.start = w.all(b)
	var err error
	for _, w.most = range mostApart {
		if err = w.sections(); !errors.Is(err, errDoubt) {
			return err
		}
	}
	return err
}

// sections proves one section after the other.
func (w *sections) sections() error {
	w.cuts = map[int32]*cut{w.graph.root: {join: -1}}
	w.left = maxRegions
	for {
		next := int32(-1)
		for id, c := range w.cuts {
			if !c.done && (next < 0 || w.place[id] < w.place[next]) {
				next = id
			}
		}
		if next < 0 {
			return nil
		}
		if err := w.section(next); err != nil {
			clear(w.at)
			clear(w.open)
			return err
		}
	}
}

// section follows all inputs from a cut to the next ones.
func (w *sections) section(id int32) error {
	w.from = w.cuts[id]
	w.from.done = true
	begin := w.start
	for i, in := range w.from.network {
		if w.from.join >= 0 {
			begin = w.narrowed(begin, interfaceType+variable(i), in)
		}
	}
	if err := w.send(id, begin); err != nil {
		return err
	}
	for place := w.open.first(w.place[id]); place >= 0; place = w.open.first(place) {
		w.open.drop(place)
		id := w.graph.order[place]
		here := w.at[id]
		w.at[id] = nil
		for _, r := range here {
			if err := w.forward(id, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// send brings a region to a node.
func (w *sections) send(id int32, r *region) error {
	w.result.Steps++
	if w.left--; w.left < 0 {
		return errSteps
	}
	if w.left%256 == 0 {
		if err := w.outOfTime(); err != nil {
			return err
		}
	}
	if w.quiet[id] {
		return w.finish(id, r)
	}
	list := w.at[id]
	if len(list) >= w.most {
		list[len(list)-1] = w.united(list[len(list)-1], r, w.start)
		return nil
	}
	w.at[id] = append(list, r)
	w.open.add(w.place[id])
	return nil
}

// forward sends what of a region goes on from a node to each of its kids.
func (w *sections) forward(id int32, r *region) error {
	n := &w.graph.nodes[id]
	switch n.kind {
	case testNode:
		v := w.graph.variable(n)
		for i, kid := range n.kids {
			if part := n.part(r.box[v], i); len(part) > 0 {
				if err := w.send(kid, w.narrowed(r, v, part)); err != nil {
					return err
				}
			}
		}
		return nil
	case askNode:
		if err := w.send(n.kids[0], r); err != nil {
			return err
		}
		for v := interfaceType; v <= subInterface; v++ {
			missing := r.box[v].and(point(v.missing()))
			if len(missing) == 0 {
				return nil
			}
			r = w.narrowed(r, v, missing)
		}
		return w.send(n.kids[1], r)
	}
	for _, kid := range n.kids {
		if err := w.send(kid, r); err != nil {
			return err
		}
	}
	return nil
}

func (w *sections) narrowed(r *region, v variable, in set) *region {
	if in.same(r.box[v]) {
		return r
	}
	return w.with(r, v, in)
}

// finish follows a region where only joined numbers are tested.
func (w *sections) finish(id int32, r *region) error {
	n := &w.graph.nodes[id]
	switch {
	case n.tail:
		return w.end(id, r)
	case n.kind == setNode:
		return w.leave(id, r)
	case n.kind == chooseNode:
		return w.chooses(id, r)
	}
	return w.forward(id, r)
}

// candidates are the pieces that may decide somewhere in the region, up to the first
// that holds everywhere; closed says that there is one.
func (w *sections) candidates(r *region) (open bitmap, closed bool) {
	holding := w.holding(r)
	end := holding.first(0)
	if end < 0 {
		return r.open, false
	}
	open = slices.Clone(r.open)
	open.cutAt(end + 1)
	return open, true
}

// labelOf is the rule that a number stands for.
func (w *sections) labelOf(number uint64) int {
	return int(min(number>>ruleShift, uint64(len(w.policy.Rules))))
}

// of are the pieces of rules with an answer.
func (w *sections) of(a answer) bitmap {
	b, ok := w.alike[a]
	if !ok {
		b = newBitmap(len(w.rule))
		first, end := 0, len(w.policy.Rules)
		if a.rule >= 0 { // no other rule has this answer
			first, end = a.rule, min(a.rule+1, end)
		}
		for i := first; i < end; i++ {
			for k := w.begin[i]; k < w.begin[i+1] && w.answers[i] == a; k++ {
				b.add(k)
			}
		}
		w.alike[a] = b
	}
	return b
}

// holds shows that nothing decides anywhere in a region but pieces that are good; then it
// gives the parts of the region to then. Where that is open, it cuts the region at a test
// of a piece, of one that is alike if there is one.
func (w *sections) holds(r *region, good, alike bitmap, byDefault bool, then func(*region, bitmap)) error {
	open, closed := w.candidates(r)
	if (closed || byDefault) && open.firstBut(good, 0) < 0 {
		then(r, open)
		return nil
	}
	var cut *side
	for i := open.first(0); i >= 0; i = open.first(i + 1) {
		if cut != nil && !alike.has(i) {
			continue
		}
		if s := w.cutting(r, i); s != nil {
			if cut = s; alike.has(i) {
				break
			}
		}
	}
	if w.left--; cut == nil || w.left < 0 {
		return w.differs(r, answer{})
	}
	w.result.Boxes++
	for _, in := range []set{cut.in, cut.in.not(math.MaxUint64)} {
		if part := r.box[cut.v].and(in); len(part) > 0 {
			if err := w.holds(w.with(r, cut.v, part), good, alike, byDefault, then); err != nil {
				return err
			}
		}
	}
	return nil
}

// cutting is a test of a piece that cuts the region, nil if there is none.
func (w *sections) cutting(r *region, piece int32) *side {
	for i := range w.tests[piece] {
		if s := &w.tests[piece][i]; !w.wholeOf(r, s.v, piece) {
			return s
		}
	}
	return nil
}

// differs looks for a connection that shows a difference.
func (w *sections) differs(r *region, a answer) error {
	if !r.exact {
		return errDoubt
	}
	if w.from.join >= 0 {
		a = answer{} // it may be that no connection comes here with such a number
	}
	return w.refute(r.box, a)
}

// leave passes a region on to the section that begins where a joined number is set.
func (w *sections) leave(id int32, r *region) error {
	set := &w.graph.nodes[id]
	id = set.kids[0]
	join := int32(-1)
	switch live := w.live[id]; {
	case live == 1<<set.v:
		join = set.v
	case live != 0:
		return errDoubt
	}
	next, ok := w.cuts[id]
	if !ok {
		next = &cut{join: join}
		w.cuts[id] = next
	}
	if next.done {
		return errDoubt
	}
	for i := range next.network {
		v := interfaceType + variable(i)
		if !next.network[i].same(w.start.box[v]) {
			next.network[i] = next.network[i].or(r.box[v])
		}
	}
	pass := func(r *region, open bitmap) {
		dealt := w.dealt(r, open, set)
		for i := range next.dealt {
			dealt[i] &= next.dealt[i]
		}
		next.dealt = dealt
	}
	if set.from >= 0 {
		if set.from != w.from.join {
			return errDoubt
		}
		open, _ := w.candidates(r)
		pass(r, open)
		return nil
	}
	rule, last := w.labelOf(set.value), len(w.answers)-1
	alike := w.of(w.answers[rule])
	good := slices.Clone(alike)
	good.addTo(w.ends[w.ranks[rule]])
	byDefault := w.ranks[rule] == w.ranks[last] || w.answers[rule] == w.answers[last]
	return w.holds(r, good, alike, byDefault, pass)
}

// dealt are the pieces of the rules that are dealt with after a region: they do not decide
// there, or the number that is set is not of a later rule.
func (w *sections) dealt(r *region, open bitmap, set *node) bitmap {
	out := w.past(r)
	number := set.value
	if set.from >= 0 {
		number = w.was(r).last
		copy(out, w.from.dealt)
	}
	for i := range out {
		out[i] |= ^open[i]
	}
	out.addFrom(w.begins(number))
	return out
}

// begins is the first piece of the rank of a number's rule.
func (w *sections) begins(number uint64) int32 {
	rank := w.ranks[w.labelOf(number)]
	if rank == 0 {
		return 0
	}
	return w.ends[rank-1]
}

// was is between which numbers the joined one is in a region.
func (w *sections) was(r *region) span {
	s := r.box[w.graph.joinVariable(w.from.join)]
	return span{s[0].first, s[len(s)-1].last}
}

// past are the pieces that do not decide in a region because their rule is dealt with and
// the joined number is of a later one.
func (w *sections) past(r *region) bitmap {
	out := newBitmap(len(w.rule))
	if w.from.join >= 0 {
		copy(out, w.from.dealt)
		out.cutAt(w.begins(w.was(r).first))
	}
	return out
}

// end shows that a tail is the right one for all of a region.
func (w *sections) end(id int32, r *region) error {
	a := w.tails[id]
	if a.flaw != "" {
		return w.differs(r, a)
	}
	alike, good := w.of(a), w.past(r)
	for i := range good {
		good[i] |= alike[i]
	}
	return w.holds(r, good, alike, w.answers[len(w.answers)-1] == a, func(*region, bitmap) {})
}

// chooses shows that the answer of a joined number is the right one for all of a region.
func (w *sections) chooses(id int32, r *region) error {
	n := &w.graph.nodes[id]
	wrong, ok := w.wrong[id]
	if !ok {
		for i, number := range n.values {
			if kid := n.kids[i]; !w.graph.nodes[kid].tail || w.tails[kid] != w.answers[w.labelOf(number)] {
				wrong = append(wrong, number)
			}
		}
		w.wrong[id] = wrong
	}
	in := r.box[w.graph.joinVariable(n.v)]
	if n.v != w.from.join || slices.ContainsFunc(wrong, in.contains) {
		return errDoubt
	}
	open, _ := w.candidates(r)
	dealt := w.dealt(r, open, &node{from: n.v})
	if open.firstBut(dealt, 0) >= 0 {
		return errDoubt
	}
	return nil
}
