"""The compiler: from a LoRA step to instructions, pass by pass, and the driver that runs them."""
