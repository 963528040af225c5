"""Published runs, as tables of papers and cards have them."""

LLAMA_1 = """\
| run | N | D | FLOP | device | device-hours | W per dev | MWh | PUE | g/kWh | tCO2e |
|---|---|---|---|---|---|---|---|---|---|---|
| LLaMA-7B | 6.7B | 1T | 4.0e22 | A100-80 | 82,432 | 400 | 36 | 1.1 | 385 | 14 |
| LLaMA-13B | 13B | 1T | 7.8e22 | A100-80 | 135,168 | 400 | 59 | 1.1 | 385 | 23 |
| LLaMA-33B | 32.5B | 1.4T | 2.7e23 | A100-80 | 530,432 | 400 | 233 | 1.1 | 385 | 90 |
| LLaMA-65B | 65.2B | 1.4T | 5.5e23 | A100-80 | 1,022,362 | 400 | 449 | 1.1 | 385 | 173 |
"""

LLAMA_3 = """\
model,hardware,GPU hours,TDP (W),tCO2e,params,tokens
Llama 3.3 70B,H100-80GB,7.0M,700,12.9,70.6B,15T
"""
