"""What `f2fcam bench` measures with: yardsticks of this machine, the chain stage by stage, and the live threads."""
