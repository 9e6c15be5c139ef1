package runtime

import (
	"bytes"
	"errors"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ReroutingChains names the nftables chains of type route in this network
// namespace: they may choose another route for a packet after its connection has
// been judged by the first one. Iptables' mangle table makes such chains, too.
func ReroutingChains() ([]string, error) {
	request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP)
	request.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
	messages, err := request.Execute(unix.NETLINK_NETFILTER, 0)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return nil, nil // no nftables
	}
	if err != nil {
		return nil, err
	}
	var chains []string
	for _, m := range messages {
		if len(m) < nl.SizeofNfgenmsg {
			continue
		}
		attributes, err := nl.ParseRouteAttr(m[nl.SizeofNfgenmsg:])
		if err != nil {
			return nil, err
		}
		text := map[uint16]string{}
		for _, a := range attributes { // the upper two bits are flags
			text[a.Attr.Type&0x3fff] = string(bytes.TrimRight(a.Value, "\x00"))
		}
		if text[unix.NFTA_CHAIN_TYPE] == "route" {
			chains = append(chains, text[unix.NFTA_CHAIN_TABLE]+" "+text[unix.NFTA_CHAIN_NAME])
		}
	}
	return chains, nil
}
