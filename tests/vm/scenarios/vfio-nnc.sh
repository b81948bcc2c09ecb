# about: firmware of NNC mode through vfio-pci and the IOMMU: boot, controls, networks of one context and of several
# kernels: cloud-amd64 arm64-16k custom-amd64
# tool: yes
# sim: --profile default,mode=nnc
# firmware: --nnc
# files: tests/golden/hef/v3_flow_yolov8.hef tests/golden/hef/v3_multi_context.hef
# arrives: yes
# memory: 768

. "$LAB/works.sh"
card=$(card)
bind_vfio "$card"
# A Hailo-10H looks the same in both modes: which is meant has to be said.
hailoctl() { command hailoctl --mode nnc "$@"; }
works_by_contexts
check "faults of the IOMMU" "$(iommu_faults)" "$FAULTS"
quiet "$card"
