package lang

func (e *Or) String() string      { return "" }
func (e *And) String() string     { return "" }
func (e *Not) String() string     { return "" }
func (e *Compare) String() string { return "" }
