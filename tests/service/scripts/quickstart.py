import indian_tune

results = indian_tune.search("quickstart", workers=2)
print(results.status())
print(results.best("indian"))
print(results.frame("runs"))
