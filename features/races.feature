@slow_network
Feature: A slow network
  An answer belongs to what was asked for: it comes late, twice or not at all, and nothing that was
  typed is lost or goes where it was not meant.

  Background:
    Given these products
      | name       | price | category | description | rating |
      | Copper pot | 49.95 | Kitchen  | For jam     | 3      |
      | Enamel mug | 8.00  | Kitchen  | For tea     | 4      |
    And I have the catalogue open

  Scenario: A save is slow, and another product is opened meanwhile
    Given answers to saves are held back
    When I open "Copper pot"
    And I fill in
      | Price |
      | 39.95 |
    And I press "Save"
    Then an answer to saves is on its way
    When I open "Enamel mug"
    And I press "Yes"
    Then the editor shows
      | Name       | Price |
      | Enamel mug | 8.00  |
    When the answers arrive
    Then I am told of "Copper pot"
    And I see these products
      | name       | price  |
      | Copper pot | $39.95 |
      | Enamel mug | $8.00  |
    And the editor shows
      | Name       | Price |
      | Enamel mug | 8.00  |
    When I fill in
      | Rating |
      | 5      |
    And I press "Save"
    Then I am told "Product has been updated"
    And the catalogue has
      | name       | price | rating |
      | Copper pot | 39.95 | 3      |
      | Enamel mug | 8.00  | 5      |

  Scenario: Clear during a save does not make an update a creation
    Given answers to saves are held back
    When I open "Copper pot"
    And I fill in
      | Price |
      | 39.95 |
    And I press "Save"
    Then an answer to saves is on its way
    When I press "Clear"
    And the answers arrive
    Then I am told of "has been updated"
    And the editor is empty

  Scenario: What is typed during a save stays, unsaved
    Given answers to saves are held back
    When I open "Copper pot"
    And I fill in
      | Price |
      | 39.95 |
    And I press "Save"
    Then an answer to saves is on its way
    When I fill in while it saves
      | Rating |
      | 5      |
    And the answers arrive
    Then I am warned when I leave the page
    And the editor shows
      | Price | Rating |
      | 39.95 | 5      |

  Scenario: An older answer of the list does not take back what was saved
    When I open "Copper pot"
    And the answer to the next of the lists is held back
    And I search for "copper"
    Then an answer to lists is on its way
    When I fill in
      | Price |
      | 39.95 |
    And answers to lists are held back
    And I press "Save"
    Then I am told "Product has been updated"
    When the answers arrive
    Then I see these products
      | name       | price  |
      | Copper pot | $39.95 |

  Scenario: The answer to a save is lost
    When I open "Copper pot"
    And the answer to the next of the saves is lost
    And I fill in
      | Price |
      | 39.95 |
    And I press "Save"
    Then I am told of "cannot be reached"
    And the editor shows
      | Price |
      | 39.95 |
    When I press "Try again"
    Then I am told "Product has been updated"
    And the catalogue has
      | name       | price |
      | Copper pot | 39.95 |
      | Enamel mug | 8.00  |

  Scenario: A double click applies a bulk change once
    Given answers to saves are held back
    When I select "Copper pot, Enamel mug"
    And I press "Set status"
    And I choose "Disabled" as "new status"
    And I press "Apply" twice
    Then an answer to saves is on its way
    And "Set status" cannot be pressed
    When the answers arrive
    Then I am told "2 products have been updated"

  Scenario: Leaving during a bulk change asks
    Given answers to saves are held back
    When I select "Copper pot, Enamel mug"
    And I press "Set status"
    And I press "Apply"
    Then an answer to saves is on its way
    And I am warned when I leave the page
    When the answers arrive
    Then I may leave the page

  Scenario: The answer to a bulk change is lost
    When I select "Copper pot, Enamel mug"
    And the answer to the next of the saves is lost
    And I press "Set status"
    And I choose "Disabled" as "new status"
    And I press "Apply"
    Then I am told "2 products have been updated"
    And the catalogue has
      | name       | status   |
      | Copper pot | disabled |
      | Enamel mug | disabled |

  Scenario: A product that loads, and one that failed to, say so, and it can be opened again
    Given answers to products are held back
    When I open "Copper pot"
    Then the editor is called "Loading product"
    When the answers arrive
    Then the editor is called "Edit product"
    When the answer to the next of the products is lost
    And I open "Enamel mug"
    Then the editor says "cannot be reached"
    And everyone can use the page
    When I open "Enamel mug"
    Then the editor shows
      | Name       | Price |
      | Enamel mug | 8.00  |

  Scenario: While a standby answers, a product is seen and not edited
    Given a standby answers
    When I search for "copper"
    Then I see "Copper pot"
    When I open "Copper pot"
    Then the editor says "can be seen, but not changed"
    And everyone can use the page
    When the primary answers
    And I open "Copper pot"
    Then the editor shows
      | Name       | Price |
      | Copper pot | 49.95 |

  Scenario: A new list leaves the ticked rows and the focus
    When I select "Copper pot"
    And I open "Enamel mug"
    And I fill in
      | Price |
      | 9.00  |
    And answers to lists are held back
    And I press "Save"
    Then an answer to lists is on its way
    When I go to the row of "Enamel mug" by keyboard and press Shift
    And the answers arrive
    Then "Copper pot" is selected
    And the row of "Enamel mug" has the focus

  Scenario: The pages wait for their list
    Given 60 products called "Mug" and a number
    And I have the catalogue open
    And I have chosen "25" as "page size"
    When the answer to the next of the lists is held back
    And I search for "mug 0"
    Then an answer to lists is on its way
    And "Next page" cannot be pressed
    When the answers arrive
    And I search for "mug"
    Then I see the products that begin with "Enamel mug" and end with "Mug 24"
    When answers to lists are held back
    And I press "Next page"
    Then an answer to lists is on its way
    And "Next page" cannot be pressed
    When the answers arrive
    Then I see the products "Mug 25" to "Mug 49"
    And the page is 2 of 3

  Scenario Outline: Work at random, with answers that are late or lost: <seed>
    Given these products
      | name   | price | rating |
      | First  | 0.5   | 1      |
      | Second | 0.5   | 1      |
      | Third  | 0.5   | 1      |
      | Fourth | 0.5   | 1      |
    And I have the catalogue open
    When I work 200 steps at random with the seed <seed>
    Then the catalogue is what I meant and was told

    Examples:
      | seed |
      | 1    |
