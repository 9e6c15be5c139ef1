package compiler

// search looks through regions of a space. It is exact, and bounded: once it has
// taken too many steps it finds nothing more, and says so.
type search struct {
	space *space
	steps int // left; below zero the answer is not known
}

// gaveUp reports whether the search ended for want of steps.
func (s *search) gaveUp() bool { return s.steps < 0 }

// look is formula.look, at a step more than its literals take.
func (s *search) look(f *formula, r region) (rel relation, n int, undecided *formula) {
	s.steps--
	return f.look(r, &s.steps)
}

// obstacle is a formula that takes its part out of a region.
type obstacle struct {
	*formula
	rule int  // whose formula it is
	used bool // it has taken something that a search came upon
}

// within divides the part of a region in which the formula holds into disjoint
// regions and calls then with each, until it says true; so does within. The region
// passed is r itself, narrowed for the time of the call.
func (s *search) within(r region, f *formula, then func() bool) bool {
	rel, _, lit := s.look(f, r)
	if s.gaveUp() {
		return false
	}
	switch rel {
	case outside:
		return false
	case covers:
		return then()
	}
	whole := r[lit.v]
	defer func() { r[lit.v] = whole }()
	s.steps -= len(whole) / 16
	r[lit.v] = intersect(whole, lit.ranges)
	if s.within(r, f, then) {
		return true
	}
	if f.isProduct() {
		return false // the rest of the region is outside
	}
	r[lit.v] = subtract(whole, lit.ranges)
	return s.within(r, f, then)
}

// isProduct reports whether the formula holds only where each of its literals does.
func (f *formula) isProduct() bool {
	if f.shape == literal {
		return true
	}
	if f.shape == anyOf {
		return false
	}
	for i := range f.parts {
		if f.parts[i].shape != literal {
			return false
		}
	}
	return true
}

// uncovered divides the part of a region that lies in no obstacle into disjoint
// regions and calls then with each, until it says true; so does uncovered. The
// obstacles that were needed are marked as used.
func (s *search) uncovered(r region, obstacles []*obstacle, then func() bool) bool {
	var undo []narrowed
	defer func() {
		for i := len(undo) - 1; i >= 0; i-- {
			r[undo[i].v] = undo[i].values
		}
	}()
	narrow := func(v int32, values []Range) {
		s.steps -= len(r[v]) / 16
		undo = append(undo, narrowed{v, r[v]})
		r[v] = values
	}
	left, lit, empty := s.survey(r, obstacles, narrow)
	switch {
	case empty || s.steps < 0:
		return false
	case len(left) == 0:
		return then()
	}
	whole := r[lit.v]
	narrow(lit.v, subtract(whole, lit.ranges))
	if s.uncovered(r, left, then) {
		return true
	}
	r[lit.v] = intersect(whole, lit.ranges)
	return s.uncovered(r, left, then)
}

// narrowed is what a variable's values were before.
type narrowed struct {
	v      int32
	values []Range
}

// survey keeps the obstacles that meet the region, and gives a literal of the one that
// is nearest to covering it. Those that cover it up to one literal it takes out of the
// region. Empty says that nothing is left of that.
func (s *search) survey(r region, obstacles []*obstacle, narrow func(v int32, values []Range)) (left []*obstacle, next *formula, empty bool) {
	for left = obstacles; s.steps >= 0; {
		var near []*obstacle
		met := make([]*obstacle, 0, len(left))
		fewest := 0
		for _, o := range left {
			rel, n, lit := s.look(o.formula, r)
			switch {
			case rel == covers:
				o.used = true
				return nil, nil, true
			case rel == partly && n == 1:
				near = append(near, o)
			case rel == partly:
				met = append(met, o)
				if fewest == 0 || n < fewest {
					next, fewest = lit, n
				}
			}
		}
		left = met
		if len(near) == 0 {
			break
		}
		for _, o := range near {
			switch rel, _, lit := s.look(o.formula, r); rel {
			case covers:
				o.used = true
				return nil, nil, true
			case partly:
				o.used = true
				narrow(lit.v, subtract(r[lit.v], lit.ranges))
			}
		}
	}
	return left, next, false
}
